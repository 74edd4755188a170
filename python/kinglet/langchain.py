"""Embeddings and chats for LangChain (`pip install kinglet[langchain]`)."""

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from ._native import Model

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}


class KingletEmbeddings(Embeddings):
    """Vectors of a `.kinglet` file."""

    def __init__(self, path, threads=None):
        self.model = Model.open(path, threads=threads)

    def embed_documents(self, texts):
        return self.model.embed(list(texts)).tolist()

    def embed_query(self, text):
        return self.model.embed([text])[0].tolist()


class ChatKinglet(SimpleChatModel):
    """Chats with a `.kinglet` file: `ChatKinglet(path="smollm2.kinglet", options={"temperature": 0})`."""

    path: str
    options: dict = {}
    _model = None

    @property
    def _llm_type(self):
        return "kinglet"

    def _answer(self, messages, stop):
        if self._model is None:
            object.__setattr__(self, "_model", Model.open(self.path))
        chat = self._model.chat()
        *before, last = messages
        for message in before:
            chat.push(_ROLES[message.type], message.content)
        return chat.say(last.content, **self.options, **({"stop": stop} if stop else {}))

    def _call(self, messages, stop=None, run_manager=None, **_):
        return self._answer(messages, stop).text()

    def _stream(self, messages, stop=None, run_manager=None, **_):
        for piece in self._answer(messages, stop):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
