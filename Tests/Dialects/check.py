"""Drives the dialects of `bitnet serve` with the makers' own clients.

    python Tests/Dialects/check.py TARGET [--key KEY] [--only TEXT]

TARGET is the program, which is then started with the demo model, or the address of a running server. Needs the
packages anthropic, openai and ollama. Every answer is validated against the types of its client, strictly where the
client has types for it.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import traceback
import urllib.error
import urllib.request

import anthropic
import ollama
import openai
import pydantic
from anthropic.types import Message as AnthropicMessage
from openai.types.responses import Response

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "ServeCheck"))
from harness import Server
import calls

checks = []
arguments = None
story = "Once upon a time"


def check(function):
    checks.append(function)
    return function


def claude():
    return anthropic.Anthropic(base_url=arguments.url, api_key=arguments.key or "none", max_retries=0)


def gpt():
    return openai.OpenAI(base_url=f"{arguments.url}/v1", api_key=arguments.key or "none", max_retries=0)


def llama():
    headers = {"Authorization": f"Bearer {arguments.key}"} if arguments.key else {}
    return ollama.Client(host=arguments.url, headers=headers)


def post(path, body, raw=None, kind="application/json"):
    """The status, the content type and the body of an answer."""
    headers = {"Content-Type": kind, "Authorization": f"Bearer {arguments.key or 'none'}"}
    data = raw if raw is not None else json.dumps(body).encode()
    request = urllib.request.Request(arguments.url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers["Content-Type"], response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def validated(kind, value):
    """Checks a value against a client's type. The clients themselves accept anything."""
    return pydantic.TypeAdapter(kind).validate_python(value)


def model():
    return gpt().models.list().data[0].id


# MARK: Anthropic


def message(**fields):
    return {
        "model": model(), "max_tokens": 24, "messages": [{"role": "user", "content": story}], "temperature": 0.0,
        **fields,
    }


def said(**fields):
    """The arguments for the client, whose newest version no longer knows the temperature."""
    body = message(**fields)
    temperature = body.pop("temperature")
    return {**body, "extra_body": {"temperature": temperature}}


@check
def anthropic_answers():
    answer = claude().messages.create(**said())
    validated(AnthropicMessage, answer.to_dict())
    assert answer.id.startswith("msg_") and answer.role == "assistant" and answer.model == model(), answer
    assert answer.stop_reason == "max_tokens" and answer.stop_sequence is None, answer
    assert answer.usage.output_tokens == 24, answer.usage
    assert answer.content[0].type == "text" and answer.content[0].text, answer
    again = claude().messages.create(**said())
    assert again.content[0].text == answer.content[0].text
    assert again.usage.cache_read_input_tokens > 0, again.usage
    total = again.usage.input_tokens + again.usage.cache_read_input_tokens
    assert total == answer.usage.input_tokens + answer.usage.cache_read_input_tokens, (again.usage, answer.usage)


@check
def anthropic_streams():
    whole = claude().messages.create(**said())
    kinds, text = [], ""
    for event in claude().messages.create(**said(), stream=True):
        validated(type(event), event.to_dict())
        kinds.append(event.type)
        if event.type == "content_block_delta":
            text += event.delta.text
        if event.type == "message_delta":
            assert event.delta.stop_reason == "max_tokens" and event.usage.output_tokens == 24, event
    assert kinds[:2] == ["message_start", "content_block_start"], kinds
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"], kinds
    assert set(kinds[2:-3]) == {"content_block_delta"}, kinds
    assert text == whole.content[0].text, (text, whole)
    with claude().messages.stream(**said()) as stream:
        assert "".join(stream.text_stream) == text
        assert stream.get_final_message().content[0].text == text


@check
def anthropic_stops_at_a_text():
    text = claude().messages.create(**said()).content[0].text
    stop = text.split()[3]
    answer = claude().messages.create(**said(stop_sequences=[stop]))
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == stop, answer
    assert stop not in answer.content[0].text and text.startswith(answer.content[0].text), answer
    streamed = claude().messages.create(**said(stop_sequences=[stop]), stream=True)
    last = [event for event in streamed if event.type == "message_delta"][0]
    assert last.delta.stop_sequence == stop, last


@check
def anthropic_takes_blocks():
    plain = claude().messages.create(**said(system="Tell a tale."))
    blocks = claude().messages.create(**said(
        system=[{"type": "text", "text": "Tell a tale.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": story}]}], metadata={"user_id": "x"},
        tools=[], thinking={"type": "disabled"}))
    assert plain.content[0].text == blocks.content[0].text
    turns = [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
        {"role": "user", "content": story},
    ]
    assert claude().messages.create(**said(messages=turns)).content[0].text


@check
def anthropic_counts_tokens():
    fields = said(system="Tell a tale.")
    count = claude().messages.count_tokens(
        model=fields["model"], messages=fields["messages"], system=fields["system"]).input_tokens
    usage = claude().messages.create(**fields).usage
    assert count == usage.input_tokens + usage.cache_read_input_tokens, (count, usage)


@check
def anthropic_refuses():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    wrong = [
        ({"max_tokens": None}, "max_tokens is null"), ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": 2}, "temperature is 2"), ({"messages": []}, "messages is empty"),
        ({"messages": "x"}, 'messages is "x"'), ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [image]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"), ({"system": 3}, "system is 3"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages[1].role"),
        ({"stop_sequences": [1]}, "stop_sequences[0] is 1"), ({"stream": "yes"}, 'stream is "yes"'),
    ]
    for fields, text in wrong:
        status, kind, body = post("/v1/messages", message(**fields))
        error = json.loads(body)
        assert status == 400 and error["type"] == "error", (fields, status, body)
        assert error["error"]["type"] == "invalid_request_error" and text in error["error"]["message"], (fields, body)
    try:
        claude().messages.create(**{**said(), "model": "unknown"})
        raise AssertionError("an unknown model answered")
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error", error.body
    try:
        claude().messages.create(**said(messages=[{"role": "user", "content": story * 4000}]))
        raise AssertionError("a prompt longer than the context was answered")
    except anthropic.BadRequestError as error:
        assert "context" in str(error), error


# MARK: OpenAI's responses


def response(**fields):
    return {"model": model(), "input": story, "max_output_tokens": 24, "temperature": 0, **fields}


@check
def responses_answer():
    answer = gpt().responses.create(**response())
    validated(Response, answer.to_dict())
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens", answer
    assert answer.output_text and answer.usage.output_tokens == 24, answer
    assert answer.usage.total_tokens == answer.usage.input_tokens + 24, answer.usage
    assert answer.id.startswith("resp_") and answer.output[0].role == "assistant", answer
    items = [{"role": "user", "content": [{"type": "input_text", "text": story}]}]
    assert gpt().responses.create(**response(input=items)).output_text == answer.output_text


@check
def responses_stream():
    whole = gpt().responses.create(**response())
    kinds, text = [], ""
    for number, event in enumerate(gpt().responses.create(**response(), stream=True)):
        validated(type(event), event.to_dict())
        assert event.sequence_number == number, event
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.output_text.done":
            assert event.text == text, event
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"], kinds
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ], kinds
    assert text == whole.output_text, (text, whole.output_text)
    assert event.response.output_text == text and event.response.usage.output_tokens == 24, event
    with gpt().responses.stream(**response()) as stream:
        for event in stream:
            pass
        assert event.type == "response.incomplete", event


@check
def responses_take_items():
    plain = gpt().responses.create(**response(instructions="Tell a tale."))
    items = [{"type": "message", "role": "developer", "content": "Tell a tale."}, {"role": "user", "content": story}]
    assert gpt().responses.create(**response(input=items)).output_text == plain.output_text
    assert plain.instructions == "Tell a tale.", plain
    more = items + [
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "A tale.", "annotations": []}]},
        {"type": "reasoning", "id": "rs_1", "summary": []}, {"role": "user", "content": "Go on."},
    ]
    answer = gpt().responses.create(**response(
        input=more, store=False, metadata={"a": "b"}, tools=[], text={"format": {"type": "text"}},
        truncation="disabled", parallel_tool_calls=True, include=[], user="me"))
    assert answer.metadata == {"a": "b"} and answer.output_text, answer


@check
def responses_refuse():
    wrong = [
        ({"input": None}, "input"), ({"input": []}, "input"), ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True}, "background"),
        ({"temperature": "hot"}, "temperature"), ({"truncation": "auto"}, "truncation"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
    ]
    for fields, parameter in wrong:
        status, kind, body = post("/v1/responses", response(**fields))
        error = json.loads(body)["error"]
        assert status == 400 and error["param"] == parameter, (fields, status, body)
        assert error["message"].startswith(parameter), (fields, body)
    try:
        gpt().responses.create(**{**response(), "model": "unknown"})
        raise AssertionError("an unknown model answered")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error


# MARK: Ollama

options = {"temperature": 0, "num_predict": 24, "seed": 7}


@check
def ollama_lists_models():
    tags = llama().list().models
    assert tags[0].model == model() and tags[0].size > 0 and tags[0].modified_at, tags
    running = llama().ps().models
    assert running[0].model == model() and running[0].context_length > 0 and running[0].expires_at, running
    shown = llama().show(model())
    assert "completion" in shown.capabilities and shown.details.family, shown
    assert shown.modelinfo[f"{shown.details.family}.context_length"] == running[0].context_length, shown
    assert llama().show(f"{model()}:latest").details == shown.details
    with urllib.request.urlopen(f"{arguments.url}/api/version") as answer:
        assert json.load(answer)["version"].count(".") == 2


@check
def ollama_chats():
    turns = [{"role": "user", "content": story}]
    whole = llama().chat(model=model(), messages=turns, options=options)
    assert whole.message.role == "assistant" and whole.message.content, whole
    assert whole.done and whole.done_reason == "length" and whole.eval_count == 24, whole
    assert whole.total_duration >= whole.eval_duration > 0 and whole.prompt_eval_count > 0, whole
    pieces = list(llama().chat(model=f"{model()}:latest", messages=turns, options=options, stream=True))
    assert all(not piece.done for piece in pieces[:-1]) and pieces[-1].done, pieces
    assert "".join(piece.message.content for piece in pieces) == whole.message.content
    assert pieces[-1].eval_count == 24 and len(pieces) > 4, pieces[-1]
    assert gpt().responses.create(**response()).output_text == whole.message.content


@check
def ollama_generates():
    raw = llama().generate(model=model(), prompt=story, raw=True, options=options)
    completion = gpt().completions.create(model=model(), prompt=story, temperature=0, max_tokens=24).choices[0].text
    assert raw.response == completion, (raw.response, completion)
    pieces = list(llama().generate(model=model(), prompt=story, system="Tell.", options=options, stream=True))
    assert pieces[-1].done_reason == "length" and "".join(piece.response for piece in pieces), pieces
    stop = completion.split()[2]
    stopped = llama().generate(model=model(), prompt=story, raw=True, options={**options, "stop": [stop]})
    assert stopped.done_reason == "stop" and stop not in stopped.response, stopped
    assert llama().generate(model=model()).done_reason == "load"
    assert llama().chat(model=model(), keep_alive="5m").done_reason == "load"


@check
def ollama_streams_lines_unless_told_not_to():
    status, kind, body = post("/api/chat", {"model": model(), "messages": [{"role": "user", "content": story}],
                                            "options": options})
    assert status == 200 and kind.startswith("application/x-ndjson"), (status, kind)
    lines = [json.loads(line) for line in body.decode().splitlines()]
    assert lines[-1]["done"] and len(lines) > 4, lines
    status, kind, body = post("/api/generate", {"model": model(), "prompt": story, "stream": False,
                                                "options": {"num_predict": 3}})
    assert kind.startswith("application/json") and json.loads(body)["eval_count"] == 3, body


@check
def ollama_refuses():
    turns = [{"role": "user", "content": "x"}]
    wrong = [
        ("/api/chat", {"messages": turns}, "model is missing"),
        ("/api/chat", {"model": model(), "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ("/api/chat", {"model": model(), "messages": [{**turns[0], "images": ["x"]}]}, "messages[0].images"),
        ("/api/chat", {"model": model(), "messages": turns, "options": {"top_p": "x"}}, "options.top_p"),
        ("/api/chat", {"model": model(), "messages": turns, "options": {"num_predict": 0}}, "options.num_predict"),
        ("/api/generate", {"model": model(), "prompt": 3}, "prompt is 3"),
        ("/api/generate", {"model": model(), "prompt": "x", "suffix": "y"}, "suffix"),
        ("/api/show", {}, "model is missing"),
    ]
    for path, body, text in wrong:
        status, kind, answer = post(path, body)
        assert status == 400 and text in json.loads(answer)["error"], (body, status, answer)
    status, kind, answer = post("/api/chat", None, raw=b"{")
    assert status == 400 and list(json.loads(answer)) == ["error"], answer
    try:
        llama().chat(model="unknown", messages=turns)
        raise AssertionError("an unknown model answered")
    except ollama.ResponseError as error:
        assert error.status_code == 404 and "unknown" in error.error, error


@check
def every_dialect_counts_alike():
    """The same chat is the same prompt, and the same greedy text, in every dialect."""
    chat = gpt().chat.completions.create(
        model=model(), messages=[{"role": "user", "content": story}], temperature=0, max_tokens=24)
    texts = {
        chat.choices[0].message.content, claude().messages.create(**said()).content[0].text,
        gpt().responses.create(**response()).output_text,
        llama().chat(model=model(), messages=[{"role": "user", "content": story}], options=options).message.content,
    }
    assert len(texts) == 1, texts


def main():
    global arguments
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--key")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        arguments.url = arguments.target.rstrip("/")
        if not arguments.url.startswith("http"):
            arguments.url = stack.enter_context(Server(pathlib.Path(arguments.target).resolve())).url
        run()


def run():
    failures = 0
    calls.dialects = sys.modules[__name__]
    for function in checks + calls.CHECKS:
        if arguments.only not in function.__name__:
            continue
        try:
            function()
            print(f"ok    {function.__name__}", flush=True)
        except Exception:
            failures += 1
            print(f"FAIL  {function.__name__}", flush=True)
            traceback.print_exc()
    if failures:
        sys.exit(f"{failures} of the dialects' checks failed")


if __name__ == "__main__":
    main()
