"""The package with real models, against what the command says of the same."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import kinglet

PROGRAM = os.environ["KINGLET"]


def command(*arguments):
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Models of the catalog, as files of their own."""
    folder = tmp_path_factory.mktemp("models")
    made = {}

    def file(name):
        if name not in made:
            made[name] = str(folder / f"{name}.kinglet")
            command("quantize", name, "-o", made[name])
        return made[name]

    return file


@pytest.fixture(scope="session")
def chat_model(files):
    return kinglet.Model.open(files("smollm2-135m"))


@pytest.fixture(scope="session")
def encoder(files):
    return kinglet.Model.open(files("all-minilm-l6-v2"))


def test_a_text_goes_on_as_the_command_says(chat_model, files):
    expected = command("run", files("smollm2-135m"), "--raw", "The capital of France is", "--temp", "0", "-n", "16", "-q")
    generation = chat_model.generate("The capital of France is", temperature=0, max_tokens=16)
    text = "".join(generation)
    assert text.strip() == expected.strip().removeprefix("The capital of France is").strip()
    assert generation.generated_tokens == 16 and generation.finish_reason == "max_tokens"
    again = chat_model.generate("The capital of France is", temperature=0, max_tokens=16)
    assert again.text() == text


def test_conversations_remember(chat_model):
    chat = chat_model.chat("You are brief.")
    first = chat.say("My name is Ada.", temperature=0, max_tokens=20).text()
    chat.say("What is my name?", temperature=0, max_tokens=20).text()
    roles = [role for role, _ in chat.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert chat.messages[2] == ("assistant", first)
    chat.reset()
    assert chat.messages == []


def test_answers_keep_to_forms(chat_model):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
              "required": ["n"], "additionalProperties": False}
    text = chat_model.chat().say("A number.", json_schema=schema, temperature=0, max_tokens=60).text()
    assert 1 <= json.loads(text)["n"] <= 9
    assert chat_model.chat().say("Yes or no?", regex="(yes|no)", max_tokens=9).text() in ("yes", "no")
    with pytest.raises(kinglet.FormError, match="form"):
        chat_model.chat().say("x", json_schema={"type": "bird"})


def test_vectors_are_the_commands(encoder, files):
    texts = ["a small bird", "a tiny wren", "the stock market"]
    vectors = encoder.embed(texts)
    assert vectors.dtype == np.float32 and vectors.shape == (3, 384)
    rows = json.loads(command("embed", files("all-minilm-l6-v2"), *texts, "-o", "json"))["embeddings"]
    assert np.abs(vectors - np.array(rows, np.float32)).max() < 1e-6
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    drop_in = kinglet.Encoder(encoder)
    assert np.array_equal(drop_in.encode(texts, show_progress_bar=False), vectors)
    assert drop_in.encode("a small bird").shape == (384,)
    with pytest.raises(TypeError, match="convert_to_tensor"):
        drop_in.encode(texts, convert_to_tensor=True)


def test_translations(files):
    model = kinglet.Model.open(files("firefox-en-pt"))
    assert "pássaro" in model.translate(["A small bird sings."])[0].lower()


def test_errors_are_a_hierarchy(chat_model, encoder, tmp_path):
    with pytest.raises(OSError, match="no such file"):
        kinglet.Model.open(tmp_path / "none.kinglet")
    damaged = tmp_path / "damaged.kinglet"
    damaged.write_bytes(b"no model" * 100)
    with pytest.raises(kinglet.FileError):
        kinglet.Model.open(damaged)
    with pytest.raises(kinglet.TaskError, match="cannot"):
        encoder.generate("x")
    with pytest.raises(kinglet.OptionError, match="temprature"):
        chat_model.generate("x", temprature=1)
    with pytest.raises(kinglet.OptionError, match="top_p"):
        chat_model.generate("x", top_p=7)
    with pytest.raises(kinglet.ContextError):
        chat_model.generate("bird " * 20_000)
    with pytest.raises(kinglet.OptionError):
        kinglet.quantize(damaged, tmp_path / "x.kinglet", type="int3")
    for kind in (kinglet.FileError, kinglet.TaskError, kinglet.OptionError, kinglet.ContextError, kinglet.FormError):
        assert issubclass(kind, kinglet.KingletError)


def test_other_threads_run_meanwhile(chat_model):
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    chat_model.logits(list(range(1000, 1800)))
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    within = [t for t in ticks if start <= t <= start + seconds]
    # A lock held throughout would let none of them by.
    assert len(within) > 20 * seconds, (len(within), seconds)


def test_many_threads_ask_one_model(chat_model):
    expected = chat_model.generate("One, two,", temperature=0, max_tokens=12).text()
    texts = [None] * 4

    def ask(i):
        texts[i] = chat_model.generate("One, two,", temperature=0, max_tokens=12).text()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [expected] * 4


def test_streams_for_asyncio(chat_model):
    async def both():
        async def one(text):
            return "".join([piece async for piece in kinglet.stream(chat_model.generate(text, temperature=0, max_tokens=8))])

        return await asyncio.gather(one("One, two,"), one("The sky is"))

    alone = [chat_model.generate(text, temperature=0, max_tokens=8).text() for text in ("One, two,", "The sky is")]
    assert asyncio.run(both()) == alone


def test_models_are_pickled_as_paths(encoder):
    data = pickle.dumps(encoder)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).embed(["x"]), encoder.embed(["x"]))


def private_and_shared(pid):
    rows = open(f"/proc/{pid}/smaps_rollup").read().split("\n")
    sizes = {row.split(":")[0]: int(row.split()[1]) for row in rows[1:] if row}
    return sizes["Pss"] / 1024, sizes["Rss"] / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_share_the_file(files):
    path = files("smollm2-135m")
    program = ("import kinglet, sys; m = kinglet.Model.open(sys.argv[1], threads=1); "
               "m.generate('The sky', max_tokens=2).text(); print('ready', flush=True); sys.stdin.read()")
    workers = [subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)]
    try:
        assert all(worker.stdout.readline().strip() == b"ready" for worker in workers)
        pss = sum(private_and_shared(worker.pid)[0] for worker in workers)
        rss = sum(private_and_shared(worker.pid)[1] for worker in workers)
    finally:
        for worker in workers:
            worker.stdin.close()
            worker.wait()
    size = os.path.getsize(path) / 2**20
    print(f"{pss:.0f} MiB for eight workers, of a file of {size:.0f} MiB")
    # One file, and for each worker Python, numpy, keys, values and buffers.
    assert pss < size + 8 * 60 and rss > 7 * size, (pss, rss, size)


def test_batches_for_ray(encoder, files):
    """The classes as Ray calls them; `test_ray.py` has Ray itself."""
    import kinglet.ray

    worker = kinglet.ray.Embed(files("all-minilm-l6-v2"), threads=1)
    batch = {"id": np.arange(3), "text": np.array(["a bird", None, "a ship"], dtype=object)}
    made = worker(batch)
    assert made["error"].tolist() == ["", "the text is missing", ""]
    assert np.array_equal(made["embedding"][[0, 2]], encoder.embed(["a bird", "a ship"]))
    assert not made["embedding"][1].any() and made["id"].tolist() == [0, 1, 2]
    answers = kinglet.ray.Generate(files("smollm2-135m"), chat=False, threads=1, temperature=0, max_tokens=4)
    assert answers({"text": np.array(["One, two,"], dtype=object)})["answer"][0]
