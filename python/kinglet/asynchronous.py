"""Streams for programs that wait for many things at once."""

import asyncio

_END = object()


async def stream(pieces):
    """The pieces of a generation or an answer, without holding up the event loop.

        async for piece in kinglet.stream(model.chat().say("Name a bird.")):
            ...
    """
    loop = asyncio.get_running_loop()
    while (piece := await loop.run_in_executor(None, next, pieces, _END)) is not _END:
        yield piece
