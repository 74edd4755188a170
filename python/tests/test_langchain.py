"""LangChain's interfaces."""

import os
import subprocess

import pytest

pytest.importorskip("langchain_core")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("langchain")

    def made(name):
        path = str(folder / f"{name}.kinglet")
        subprocess.run([os.environ["KINGLET"], "quantize", name, "-o", path], check=True, capture_output=True)
        return path

    return made


def test_chats_and_vectors(file):
    from kinglet.langchain import ChatKinglet, KingletEmbeddings

    chat = ChatKinglet(path=file("smollm2-135m"), options={"temperature": 0, "max_tokens": 24})
    messages = [("human", "What is the capital of France?")]
    said = chat.invoke(messages).content
    assert "Paris" in said
    assert "".join(chunk.content for chunk in chat.stream(messages)) == said
    vectors = KingletEmbeddings(file("all-minilm-l6-v2"))
    assert len(vectors.embed_query("a bird")) == 384 and len(vectors.embed_documents(["a", "b"])) == 2
