"""Functions in chats, driven by OpenAI's own Python package."""
import json

from clients import MESSAGES, client, openai, openai_case, valid
from harness import Server, check

# Names of functions with the schemas of their arguments, and what arguments must satisfy.
FUNCTIONS = {
    "weather": (
        {"type": "object", "additionalProperties": False, "required": ["city", "days"], "properties": {
            "city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}},
        lambda a: set(a) == {"city", "days"} and a["city"] in ["Oslo", "Rome"] and a["days"] in range(1, 10)),
    "point": (
        {"type": "object", "required": ["at"], "additionalProperties": False, "properties": {
            "at": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "minItems": 2,
                   "maxItems": 2}}},
        lambda a: len(a["at"]) == 2 and all(-1 <= x <= 1 for x in a["at"])),
    "name": (
        {"required": ["id"], "properties": {"id": {"type": "string", "pattern": "^[a-z]{2}-[0-9]{3}$"},
                                            "note": {"type": "string", "maxLength": 8}}},
        lambda a: len(a["id"]) == 6 and a["id"][2] == "-" and len(a.get("note", "")) <= 8),
    "tree": (
        {"type": "object", "properties": {"root": {"$ref": "#/$defs/node"}}, "required": ["root"], "$defs": {
            "node": {"type": "object", "required": ["left", "right"], "additionalProperties": False, "properties": {
                "left": {"type": "null"}, "right": {"type": "boolean"}}}}},
        lambda a: a["root"]["left"] is None and a["root"]["right"] in [True, False]),
    "nothing": (None, lambda a: a == {}),
    "empty": ({"type": "object", "properties": {}}, lambda a: a == {}),
}


def tool(name):
    schema = FUNCTIONS[name][0]
    function = {"name": name, "description": f"Gives {name}."}
    return {"type": "function", "function": {**function, "parameters": schema} if schema else function}


def named(name):
    return {"type": "function", "function": {"name": name}}


def checked(name, arguments):
    value = json.loads(arguments)
    check(FUNCTIONS[name][1](value), f"calls {name} with {arguments}")


def gathered(stream):
    """The texts, calls and reasons of the choices of a stream, put together as a client does it."""
    choices = {}
    for chunk in stream:
        valid(chunk)
        for choice in chunk.choices:
            text, calls, reasons = choices.setdefault(choice.index, ([], [], []))
            text.append(choice.delta.content or "")
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for part in choice.delta.tool_calls or []:
                if part.id is not None:
                    check(part.index == len(calls) and part.type == "function", f"begins a call with {part}")
                    check(part.function.name and part.function.arguments == "", f"begins a call with {part}")
                    calls.append([part.id, part.function.name, ""])
                else:
                    check(part.index == len(calls) - 1 and part.function.name is None, f"goes on with {part}")
                    calls[-1][2] += part.function.arguments
    return [("".join(text), calls, reasons) for _, (text, calls, reasons) in sorted(choices.items())]


def same(choice, streamed):
    text, calls, reasons = streamed
    check((choice.message.content or "") == text, "streams another text")
    whole = [[c.id, c.function.name, c.function.arguments] for c in choice.message.tool_calls or []]
    check(whole == calls, f"streams {calls}, not {whole}")
    check(reasons == [choice.finish_reason], f"gives the reasons {reasons}")


@openai_case("tools: forced calls have arguments of the schema, streamed or not")
def _(program):
    with Server(program) as server:
        c = client(server)
        ids = set()
        for name in FUNCTIONS:
            for seed in range(6):
                others = [tool("nothing")] if seed % 2 and name != "nothing" else []
                options = dict(model="demo", messages=MESSAGES, tools=[*others, tool(name)], seed=seed,
                               tool_choice=named(name), temperature=1.5, stop=["a", "}"])
                answer = valid(c.chat.completions.create(**options))
                choice = answer.choices[0]
                check(choice.finish_reason == "tool_calls" and choice.message.content is None, f"gives {choice}")
                call, = choice.message.tool_calls
                check(call.function.name == name, f"calls {call.function.name}")
                checked(name, call.function.arguments)
                ids.add(call.id)
                same(choice, gathered(c.chat.completions.create(**options, stream=True))[0])
        check(len(ids) == 6 * len(FUNCTIONS), f"has {len(ids)} identifiers")


@openai_case("tools: required calls of several choices, parallel off, and a helper's stream")
def _(program):
    with Server(program) as server:
        c = client(server)
        options = dict(model="demo", messages=MESSAGES, tools=[tool("weather"), tool("nothing")],
                       tool_choice="required", n=3, seed=5, parallel_tool_calls=False)
        answer = valid(c.chat.completions.create(**options))
        streamed = gathered(c.chat.completions.create(**options, stream=True))
        for choice, stream in zip(answer.choices, streamed, strict=True):
            call, = choice.message.tool_calls
            checked(call.function.name, call.function.arguments)
            same(choice, stream)
        with c.chat.completions.stream(model="demo", messages=MESSAGES, tools=[tool("weather")], seed=5,
                                       tool_choice="required") as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion().choices[0]
        check("tool_calls.function.arguments.done" in kinds, f"has the events {kinds}")
        checked("weather", final.message.tool_calls[0].function.arguments)


@openai_case("tools: a call goes on with its result, and a call that is cut ends with length")
def _(program):
    with Server(program) as server:
        c = client(server)
        options = dict(model="demo", tools=[tool("weather")], seed=2, max_tokens=60)
        first = c.chat.completions.create(messages=MESSAGES, tool_choice="required", **options).choices[0].message
        turns = [*MESSAGES, first.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "warm"}]
        second = valid(c.chat.completions.create(messages=turns, tool_choice="none", **options))
        check(second.choices[0].message.content and not second.choices[0].message.tool_calls, f"gives {second}")
        again = c.chat.completions.create(messages=turns, tool_choice="required", **options).choices[0].message
        check(again.tool_calls[0].id != first.tool_calls[0].id, "repeats an identifier")
        parts = set()
        for limit in range(1, 40):
            cut = dict(model="demo", messages=MESSAGES, tools=[tool("weather")], tool_choice="required", seed=2,
                       max_tokens=limit)
            choice = valid(c.chat.completions.create(**cut)).choices[0]
            same(choice, gathered(c.chat.completions.create(**cut, stream=True))[0])
            if choice.finish_reason == "tool_calls":
                break
            check(choice.finish_reason == "length", f"ends with {choice.finish_reason}")
            parts |= {call.function.arguments for call in choice.message.tool_calls or []}
        check(len(parts) > 3, f"has only the parts {parts}")


@openai_case("tools: the model decides, with and without a format; the older fields; errors")
def _(program):
    with Server(program) as server:
        c = client(server)
        auto = dict(model="demo", messages=MESSAGES, tools=[tool("weather")], seed=1, max_tokens=20)
        choice = valid(c.chat.completions.create(**auto)).choices[0]
        same(choice, gathered(c.chat.completions.create(**auto, stream=True))[0])
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
                  "additionalProperties": False}
        for seed in range(8):
            options = {**auto, "seed": seed, "max_tokens": 100, "temperature": 3}
            choice = c.chat.completions.create(**options, response_format={
                "type": "json_schema", "json_schema": {"name": "ok", "schema": schema}}).choices[0]
            if choice.message.tool_calls:
                checked("weather", choice.message.tool_calls[0].function.arguments)
            else:
                check(json.loads(choice.message.content)["ok"] in [True, False], f"gives {choice}")
        older = valid(c.chat.completions.create(
            model="demo", messages=MESSAGES, functions=[tool("weather")["function"]],
            function_call={"name": "weather"})).choices[0]
        check(older.finish_reason == "function_call" and not older.message.tool_calls, f"gives {older}")
        checked("weather", older.message.function_call.arguments)
        for fields, parameter in [
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"tools": [tool("weather")], "tool_choice": named("point")}, "tool_choice.function.name"),
            ({"tool_choice": "required"}, "tool_choice"),
        ]:
            try:
                c.chat.completions.create(model="demo", messages=MESSAGES, **fields)
                check(False, f"takes {fields}")
            except openai.BadRequestError as error:
                check(error.param == parameter, f"names {error.param}, not {parameter}")
