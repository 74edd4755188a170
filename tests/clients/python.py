"""OpenAI's package and LangChain's, against a server at OPENAI_BASE_URL with SmolLM2, MiniLM and Whisper tiny.en.

    python tests/clients/python.py SPEECH.flac
"""

import json
import sys

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

CHAT, EMBED, LISTEN = "smollm2-135m", "all-minilm-l6-v2", "whisper-tiny.en"
client = openai.OpenAI()
messages = [{"role": "user", "content": "What is the capital of France?"}]


def chats():
    answer = client.chat.completions.create(model=CHAT, messages=messages, temperature=0, max_completion_tokens=24)
    text = answer.choices[0].message.content
    assert "Paris" in text, text
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    again = client.chat.completions.create(model=CHAT, messages=messages, temperature=0, max_completion_tokens=24)
    assert again.choices[0].message.content == text
    assert again.usage.prompt_tokens_details.cached_tokens == answer.usage.prompt_tokens - 1

    stream = client.chat.completions.create(model=CHAT, messages=messages, temperature=0, max_completion_tokens=24,
                                            stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == text, (said, text)
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens

    several = client.chat.completions.create(model=CHAT, messages=messages, n=3, seed=5, temperature=1, max_tokens=16,
                                             logprobs=True, top_logprobs=2, stop=["\n\n"], logit_bias={"0": -100})
    assert len(several.choices) == 3
    for choice in several.choices:
        found = choice.logprobs.content
        assert len(found) and all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in found)
    same = client.chat.completions.create(model=CHAT, messages=messages, n=3, seed=5, temperature=1, max_tokens=16,
                                          stop=["\n\n"], logit_bias={"0": -100})
    assert [c.message.content for c in same.choices] == [c.message.content for c in several.choices]


def completions():
    answer = client.completions.create(model=CHAT, prompt=["The capital of France is", "One, two, three,"],
                                       temperature=0, max_tokens=8, logprobs=1)
    texts = [choice.text for choice in answer.choices]
    assert "Paris" in texts[0] and "four" in texts[1], texts
    assert len(answer.choices[0].logprobs.tokens) == 8


def embeddings():
    texts = ["a small bird", "a tiny wren", "the stock market"]
    # The package asks for base64 unless told otherwise.
    vectors = [item.embedding for item in client.embeddings.create(model=EMBED, input=texts).data]
    floats = [item.embedding for item in
              client.embeddings.create(model=EMBED, input=texts, encoding_format="float").data]
    assert max(abs(a - b) for a, b in zip(vectors[0], floats[0])) < 1e-6
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.2
    short = client.embeddings.create(model=EMBED, input=texts[0], dimensions=64).data[0].embedding
    assert len(short) == 64 and abs(dot(short, short) - 1) < 1e-4


def speech(path):
    with open(path, "rb") as file:
        heard = client.audio.transcriptions.create(model=LISTEN, file=file)
    assert "weather" in heard.text or "meeting" in heard.text, heard.text
    with open(path, "rb") as file:
        heard = client.audio.transcriptions.create(model=LISTEN, file=file, response_format="verbose_json",
                                                   timestamp_granularities=["word"])
    assert heard.words and heard.segments and heard.duration > 1
    with open(path, "rb") as file:
        subtitles = client.audio.transcriptions.create(model=LISTEN, file=file, response_format="srt")
    assert "-->" in subtitles


def errors():
    for call, kind in [
        (lambda: client.chat.completions.create(model="gpt-5", messages=messages), openai.NotFoundError),
        (lambda: client.chat.completions.create(model=CHAT, messages=messages, temperature=-1), openai.BadRequestError),
        (lambda: client.chat.completions.create(model=CHAT, messages=messages, extra_body={"mood": 1}),
         openai.BadRequestError),
        (lambda: client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "bird " * 20000}]),
         openai.BadRequestError),
        (lambda: openai.OpenAI(api_key="wrong").models.list(), openai.AuthenticationError),
        (lambda: client.audio.transcriptions.create(model=LISTEN, file=("x.wav", b"no sound")),
         openai.BadRequestError),
    ]:
        try:
            call()
        except kind as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"{kind} expected")
    names = [model.id for model in client.models.list()]
    assert names == [CHAT, EMBED, LISTEN], names


def langchain():
    chat = ChatOpenAI(model=CHAT, temperature=0, max_tokens=24)
    assert "Paris" in chat.invoke("What is the capital of France?").content
    assert "Paris" in "".join(chunk.content for chunk in chat.stream("What is the capital of France?"))
    vectors = OpenAIEmbeddings(model=EMBED, check_embedding_ctx_length=False).embed_documents(["a", "b"])
    assert len(vectors) == 2 and len(vectors[0]) == 384


chats()
completions()
embeddings()
speech(sys.argv[1])
errors()
langchain()
print(json.dumps({"python": "well", "openai": openai.__version__}))
