"""Functions in the dialects, driven by the makers' own clients. check.py sets `dialects`, and runs CHECKS."""

import json

import anthropic
import openai
from anthropic.types import Message as AnthropicMessage
from openai.types.responses import Response

CHECKS = []
dialects = None

WEATHER = {
    "type": "object", "additionalProperties": False, "required": ["city", "days"],
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
}
NOTHING = {"type": "object", "properties": {}}
CLAUDES = [{"name": "weather", "description": "Tells the weather.", "input_schema": WEATHER},
           {"name": "nothing", "input_schema": NOTHING}]
FLAT = [{"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": WEATHER},
        {"type": "function", "name": "nothing", "parameters": NOTHING}]
NESTED = [{"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
          for tool in FLAT]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
          "additionalProperties": False}


def check(function):
    CHECKS.append(function)
    return function


def fits(name, arguments):
    if name == "nothing":
        return arguments == {}
    return (name == "weather" and set(arguments) == {"city", "days"} and arguments["city"] in ["Oslo", "Rome"]
            and arguments["days"] in range(1, 10))


def claude(seed, **fields):
    said = dialects.said(max_tokens=200, tools=CLAUDES, **fields)
    return {**said, "extra_body": {"temperature": 1, "seed": seed}}


@check
def anthropic_calls_tools():
    c = dialects.claude()
    for seed in range(6):
        for choice, name in [({"type": "any"}, None), ({"type": "tool", "name": "weather"}, "weather"),
                             ({"type": "tool", "name": "nothing"}, "nothing")]:
            answer = c.messages.create(**claude(seed, tool_choice=choice))
            dialects.validated(AnthropicMessage, answer.to_dict())
            assert answer.stop_reason == "tool_use", answer
            call, = answer.content
            assert call.type == "tool_use" and call.id.startswith("toolu_"), call
            assert name in [None, call.name] and fits(call.name, call.input), call
            with c.messages.stream(**claude(seed, tool_choice=choice)) as stream:
                for event in stream:
                    dialects.validated(type(event), event.to_dict())
                final = stream.get_final_message()
            assert final.to_dict()["content"] == answer.to_dict()["content"], (final, answer)
            assert final.stop_reason == "tool_use", final
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "warm"}]}
    turns = [*claude(0)["messages"], {"role": "assistant", "content": answer.to_dict()["content"]},
             {"role": "user", "content": [result, {"type": "text", "text": "So?"}]}]
    after = c.messages.create(**{**claude(1, tool_choice={"type": "none"}), "messages": turns})
    assert after.content[0].type == "text" and after.content[0].text, after
    more = c.messages.create(**{**claude(1, tool_choice={"type": "any"}), "messages": turns})
    assert fits(more.content[0].name, more.content[0].input) and more.content[0].id != call.id, more


@check
def anthropic_counts_tools():
    c = dialects.claude()
    fields = claude(1)
    said = {"model": fields["model"], "messages": fields["messages"]}
    count = c.messages.count_tokens(**said, tools=CLAUDES).input_tokens
    usage = c.messages.create(**fields).usage
    assert count == usage.input_tokens + usage.cache_read_input_tokens, (count, usage)
    assert c.messages.count_tokens(**said).input_tokens < count


@check
def anthropic_cuts_calls():
    c = dialects.claude()
    inputs = []
    for limit in range(1, 60):
        fields = {**claude(3, tool_choice={"type": "tool", "name": "weather"}), "max_tokens": limit}
        answer = c.messages.create(**fields)
        with c.messages.stream(**fields) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == answer.stop_reason, (final, answer)
        if answer.stop_reason == "tool_use":
            break
        assert answer.stop_reason == "max_tokens", answer
        inputs += [block.input for block in answer.content if block.type == "tool_use"]
    assert {} in inputs and len({len(value) for value in inputs}) > 1, inputs


@check
def anthropic_formats_answers():
    for seed in range(4):
        fields = {**dialects.said(max_tokens=100), "extra_body": {"temperature": 1, "seed": seed}}
        answer = dialects.claude().messages.create(
            **fields, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
        assert json.loads(answer.content[0].text)["ok"] in [True, False], answer


@check
def anthropic_refuses_tools():
    for fields, text in [
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"), ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": CLAUDES, "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice.name"),
    ]:
        try:
            dialects.claude().messages.create(**dialects.said(**fields))
            raise AssertionError(f"{fields} was answered")
        except anthropic.BadRequestError as error:
            assert error.body["error"]["message"].startswith(text), error.body


def response(seed, **fields):
    return {"model": dialects.model(), "input": dialects.story, "max_output_tokens": 200, "tools": FLAT,
            "extra_body": {"seed": seed}, **fields}


@check
def responses_call_tools():
    c = dialects.gpt()
    for seed in range(6):
        for choice, name in [("required", None), ({"type": "function", "name": "weather"}, "weather"), (
                {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "nothing"}]},
                "nothing")]:
            answer = c.responses.create(**response(seed, tool_choice=choice, parallel_tool_calls=False))
            dialects.validated(Response, answer.to_dict())
            assert answer.status == "completed" and not answer.parallel_tool_calls, answer
            call, = answer.output
            assert call.type == "function_call" and call.status == "completed", call
            assert name in [None, call.name] and fits(call.name, json.loads(call.arguments)), call
            streamed, arguments = None, ""
            for event in c.responses.create(**response(seed, tool_choice=choice), stream=True):
                dialects.validated(type(event), event.to_dict())
                if event.type == "response.function_call_arguments.delta":
                    arguments += event.delta
                if event.type == "response.function_call_arguments.done":
                    assert event.arguments == arguments, event
                if event.type == "response.output_item.done":
                    streamed = event.item
            assert event.type == "response.completed" and event.response.output == [streamed], event
            assert streamed.to_dict() == {**call.to_dict(), "id": streamed.id}, (streamed, call)
            assert arguments == call.arguments, (arguments, call)
    items = [{"role": "user", "content": dialects.story}, call.to_dict(),
             {"type": "function_call_output", "call_id": call.call_id, "output": "warm"}]
    text = c.responses.create(**response(1, input=items, tool_choice="none"))
    assert text.output[0].type == "message" and text.output_text, text
    with c.responses.stream(**response(1, tool_choice="required")) as stream:
        kinds = {event.type for event in stream}
    assert "response.function_call_arguments.done" in kinds, kinds


@check
def responses_cut_calls():
    c = dialects.gpt()
    parts = set()
    for limit in range(1, 60):
        fields = {**response(3, tool_choice={"type": "function", "name": "weather"}), "max_output_tokens": limit}
        answer = c.responses.create(**fields)
        *_, last = c.responses.create(**fields, stream=True)
        assert last.type == f"response.{answer.status}" and last.response.status == answer.status, last
        if answer.status == "completed":
            break
        parts |= {item.arguments for item in answer.output if item.type == "function_call"}
        assert all(item.status == "incomplete" for item in answer.output), answer
    assert len(parts) > 3, parts


@check
def responses_format_answers():
    for seed in range(4):
        answer = dialects.gpt().responses.create(**response(seed, tools=[], text={
            "format": {"type": "json_schema", "name": "ok", "schema": SCHEMA, "strict": True}}))
        assert json.loads(answer.output_text)["ok"] in [True, False], answer
        assert answer.text.format.type == "json_schema", answer.text
    for fields, parameter in [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"), ({"tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ]:
        try:
            dialects.gpt().responses.create(**response(1, **fields))
            raise AssertionError(f"{fields} was answered")
        except openai.BadRequestError as error:
            assert error.param == parameter, error


@check
def ollama_takes_tools_and_formats():
    c = dialects.llama()
    turns = [{"role": "user", "content": dialects.story}]
    options = {"num_predict": 16, "seed": 1}
    plain = c.chat(model=dialects.model(), messages=turns, tools=NESTED, options=options)
    pieces = list(c.chat(model=dialects.model(), messages=turns, tools=NESTED, options=options, stream=True))
    assert "".join(piece.message.content for piece in pieces) == plain.message.content, (pieces, plain)
    turns += [{"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "weather", "arguments": {"city": "Oslo", "days": 1}}}]},
        {"role": "tool", "tool_name": "weather", "content": "warm"}]
    assert c.chat(model=dialects.model(), messages=turns, tools=NESTED, options=options).eval_count > 0
    options = {"num_predict": 100, "temperature": 1.5}
    for seed in range(4):
        chat = c.chat(model=dialects.model(), messages=turns[:1], format=SCHEMA, options={**options, "seed": seed})
        assert json.loads(chat.message.content)["ok"] in [True, False], chat
        text = c.generate(model=dialects.model(), prompt="Hi", format=SCHEMA, options={**options, "seed": seed})
        assert json.loads(text.response)["ok"] in [True, False], text
    status, _, body = dialects.post(
        "/api/generate", {"model": dialects.model(), "prompt": "Hi", "stream": False, "options": {"num_predict": 2}},
        kind="application/x-www-form-urlencoded")
    assert status == 200, body
