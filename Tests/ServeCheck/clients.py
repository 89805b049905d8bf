"""OpenAI's own Python package, with every option that the server has."""
import json

from harness import Server, case, check

try:
    import openai
    import pydantic
    print(f"beside openai {openai.__version__}")
except ImportError:
    openai = None
    print("openai is not installed; its cases are left out")

MESSAGES = [{"role": "user", "content": "Once upon a time"}]


def client(server, **options):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60, **options)


def valid(answer):
    """Validates an answer against its type: the package itself takes anything."""
    fields = json.loads(answer.to_json())
    for choice in fields.get("choices", []):
        # With echo, OpenAI's API has null for the first token, which the package's types forget.
        lists = choice.get("logprobs") or {}
        for name, value in [("token_logprobs", 0.0), ("top_logprobs", {})]:
            if lists.get(name, [0])[0] is None:
                lists[name][0] = value
    type(answer).model_validate(fields, strict=False)
    return answer


def openai_case(text):
    return case(text) if openai else lambda function: function


@openai_case("openai: a chat with every option")
def _(program):
    with Server(program) as server:
        c = client(server)
        options = dict(model="demo", messages=MESSAGES, max_completion_tokens=30, temperature=0.9, top_p=0.95, n=2,
                       seed=2**63 - 1, stop=["zebra", "\n\n\n"], logprobs=True, top_logprobs=4, presence_penalty=0.5,
                       frequency_penalty=-0.25, user="somebody", metadata={"a": "b"}, store=False,
                       response_format={"type": "text"},
                       extra_body={"top_k": 40, "min_p": 0.02, "repetition_penalty": 1.05})
        answer = valid(c.chat.completions.create(**options))
        check(len(answer.choices) == 2, f"has {len(answer.choices)} choices")
        check(answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, "adds up wrong")
        for choice in answer.choices:
            tokens = choice.logprobs.content
            check(choice.message.content.startswith("".join(t.token for t in tokens)[:10]), "tokens are not the text's")
            check(all(len(t.top_logprobs) == 4 for t in tokens), "has other numbers of alternatives")
        texts = ["", ""]
        reasons = [[], []]
        chunks = [valid(chunk) for chunk in c.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True})]
        check(chunks[-1].usage.completion_tokens == answer.usage.completion_tokens, "streams another usage")
        check(all(chunk.choices for chunk in chunks[:-1]), "has a chunk without choices")
        check({chunk.id for chunk in chunks} == {chunks[0].id}, "changes its id")
        check([c.choices[0].delta.role for c in chunks[:2]] == ["assistant", "assistant"], "does not begin with roles")
        for chunk in chunks[:-1]:
            choice = chunk.choices[0]
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index].append(choice.finish_reason)
        check(texts == [choice.message.content for choice in answer.choices], "streams another text")
        check(reasons == [[choice.finish_reason] for choice in answer.choices], f"gives reasons {reasons}")
        plain = list(c.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=5, stream=True))
        check(all(chunk.choices and chunk.usage is None for chunk in plain), "sends usage that nobody asked for")


@openai_case("openai: completions, models, errors and their types")
def _(program):
    with Server(program) as server:
        c = client(server)
        answer = valid(c.completions.create(model="demo", prompt=["The king", "The queen"], max_tokens=8, echo=True,
                                            logprobs=3, n=2, temperature=0.5, seed=1))
        check(len(answer.choices) == 4, f"has {len(answer.choices)} choices")
        first = answer.choices[0].logprobs
        check(len(first.tokens) == len(first.token_logprobs) == len(first.top_logprobs) == len(first.text_offset),
              "has lists of different lengths")
        pieces = list(c.completions.create(model="demo", prompt="The king", max_tokens=8, seed=1, temperature=0.5,
                                           stream=True, stream_options={"include_usage": True}))
        text = "".join(piece.choices[0].text for piece in pieces if piece.choices)
        check("The king" + text == answer.choices[0].text, "streams another text")
        models = [valid(model) for model in c.models.list()]
        check([model.id for model in models] == ["demo"] and models[0].max_model_len > 0, f"lists {models}")
        check(c.models.retrieve("demo").id == "demo", "retrieves another model")
        for kind, call in [
            (openai.NotFoundError, lambda: c.models.retrieve("other")),
            (openai.NotFoundError, lambda: c.chat.completions.create(model="other", messages=MESSAGES)),
            (openai.BadRequestError, lambda: c.chat.completions.create(model="demo", messages=[])),
            (openai.BadRequestError, lambda: c.completions.create(model="demo", prompt="king " * 5000)),
        ]:
            try:
                call()
            except kind as error:
                check(error.body["message"] and error.request_id, f"has no message or id: {error.body}")
            else:
                check(False, f"raises no {kind.__name__}")


@openai_case("openai: asynchronous streams side by side, and one that is left")
def _(program):
    import asyncio

    async def run(server):
        c = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)

        async def text(seed):
            stream = await c.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=40, seed=seed,
                                                     stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async with await c.chat.completions.create(model="demo", messages=MESSAGES, stream=True) as left:
            async for _ in left:
                break
        together = await asyncio.gather(*(text(seed) for seed in range(8)))
        alone = [await text(seed) for seed in range(8)]
        check(together == alone, "gives other texts beside others")

    with Server(program) as server:
        asyncio.run(run(server))


@openai_case("openai: keys")
def _(program):
    with Server(program, "--api-key", "one", "--api-key", "two") as server:
        for key in ["one", "two"]:
            openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0).models.list()
        try:
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="three", max_retries=0).models.list()
            check(False, "takes a wrong key")
        except openai.AuthenticationError:
            pass
