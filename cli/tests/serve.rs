//! `kinglet serve`: answers, streams, what is shared, and what clients do wrong.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kinglet::Model;
use kinglet_server::{Place as At, ServeError, Served, ServerOptions, serve};
use place::{Place, TEMPLATE, chat_place, place};
use serde_json::{Value, json};

/// A server in this process.
struct Server {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _places: Vec<Place>,
}

impl Server {
    fn start(places: Vec<(&str, Place)>, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let mut options = ServerOptions::default();
        options.at = At::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut options);
        let served = places.iter().map(|(name, place)| {
            let path = place.model.clone();
            let open = move || Model::open(&path).map_err(|error| error.to_string());
            Served { name: (*name).to_owned(), open: Box::new(open), defaults: Default::default() }
        });
        let served: Vec<Served> = served.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let ready = |address: &str| tell.send(address.to_owned()).unwrap();
            serve(served, options, ready, move || stopped.load(Ordering::Relaxed))
        });
        let address = told.recv().unwrap();
        let places = places.into_iter().map(|(_, place)| place).collect();
        Self { address, stop, thread: Some(thread), _places: places }
    }

    /// A chat model and an encoder.
    fn usual() -> Self {
        Self::start(vec![("llama", chat_place(TEMPLATE)), ("bert", place("bert"))], |_| {})
    }

    fn host(&self) -> &str {
        self.address.strip_prefix("http://").unwrap()
    }

    /// Status and body of a POST.
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    /// The body of a POST that must succeed.
    fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// The message of a POST that must fail.
    fn fails(&self, status: u16, path: &str, body: &Value) -> String {
        let (found, answer) = self.post(path, body);
        assert_eq!(found, status, "{path} {body}: {answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, &[], b"")
    }

    /// One request by hand, so that nothing puts it right.
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has heard enough need not read the rest.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }

    /// A request whose answer is a stream: its reader, after the head.
    fn stream(&self, path: &str, body: &Value) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        reader
    }

    /// Waits until nothing runs any more.
    fn wait_until_idle(&self) {
        let start = Instant::now();
        while self.get("/slots").1[0]["running"] != 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "a slot is stuck");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().unwrap();
            assert!(ended.is_ok(), "{ended:?}");
        }
    }
}

/// The events of a stream, to its end.
fn events(reader: &mut BufReader<TcpStream>) -> Vec<Value> {
    let mut events = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        match line.trim().strip_prefix("data: ") {
            Some("[DONE]") => return events,
            Some(event) => events.push(serde_json::from_str(event).unwrap()),
            None => {}
        }
        line.clear();
    }
    panic!("a stream without an end: {events:?}")
}

fn chat(text: &str) -> Value {
    json!({
        "model": "llama", "messages": [{"role": "user", "content": text}],
        "max_tokens": 12, "temperature": 1.0, "seed": 7, "ignore_eos": true,
    })
}

/// A tool in OpenAI's form.
fn tools() -> Value {
    let parameters = json!({
        "type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}}, "required": ["city"],
        "additionalProperties": false,
    });
    json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}])
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_stream_says_what_an_answer_says() {
    let server = Server::usual();
    let body = with(chat("a bird"), "logprobs", true.into());
    let answer = server.ask("/v1/chat/completions", &body);
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let logprobs = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(logprobs.len(), 12);
    let body = with(body, "stream", true.into());
    let body = with(body, "stream_options", json!({"include_usage": true}));
    let events = events(&mut server.stream("/v1/chat/completions", &body));
    let of = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    let streamed: String = events.iter().filter_map(of).collect();
    assert_eq!(streamed, content(&answer));
    let last = &events[events.len() - 1];
    assert_eq!(last["usage"]["completion_tokens"], 12);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
    let found = events.iter().filter(|event| event["choices"][0]["logprobs"].is_object()).count();
    assert_eq!(found, 12);

    // Completions, of a text and of its tokens.
    let tokens = server.ask("/tokenize", &json!({"content": "a bird", "add_special": true}));
    let complete = |prompt: Value| {
        let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 5, "ignore_eos": true});
        server.ask("/v1/completions", &body)["choices"][0]["text"].clone()
    };
    assert_eq!(complete("a bird".into()), complete(tokens["tokens"].clone()));
    let both = json!({"prompt": ["a bird", "a ship"], "temperature": 0, "max_tokens": 5, "n": 2});
    let both = server.ask("/v1/completions", &both);
    assert_eq!(both["choices"].as_array().unwrap().len(), 4);
    assert_eq!(both["choices"][0]["text"], both["choices"][1]["text"]);
}

/// The same request gets the same answer alone, among others, and after others, whether what it begins
/// with is known or not.
#[test]
fn company_changes_nothing() {
    let server = Server::start(vec![("llama", chat_place(TEMPLATE))], |options| {
        options.scheduler.slots = 5;
        options.scheduler.prompt_rows = 7;
        options.scheduler.queue = 100;
    });
    let long = "all the birds of the north and of the south ".repeat(20);
    let bodies: Vec<Value> = (0..16)
        .map(|i| {
            let text = if i % 2 == 0 { format!("{long}{i}") } else { format!("{i} birds") };
            with(with(chat(&text), "seed", i.into()), "max_tokens", (5 + 3 * i).into())
        })
        .collect();
    let ask = |body: &Value| {
        let answer = server.ask("/v1/chat/completions", body);
        (content(&answer).to_owned(), answer["usage"]["prompt_tokens_details"].clone())
    };
    let fresh = |body: &Value| ask(&with(body.clone(), "cache_prompt", false.into())).0;
    let alone: Vec<String> = bodies.iter().map(fresh).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = bodies.iter().map(|body| scope.spawn(|| ask(body).0)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    for (i, (body, alone)) in bodies.iter().zip(&alone).enumerate() {
        let (text, details) = ask(body);
        assert_eq!(text, *alone);
        // Short ones are computed sooner than they are found.
        let known = details["cached_tokens"].as_u64().unwrap();
        assert!(known > 100 || i % 2 == 1, "{details}");
    }
}

/// With little room for keys and values requests take turns, and lose nothing by it.
#[test]
fn little_memory_changes_nothing_either() {
    let start = |memory: usize| {
        Server::start(vec![("llama", chat_place(TEMPLATE))], |options| {
            options.scheduler.kv_memory = memory;
        })
    };
    let answers = |server: &Server| -> Vec<String> {
        std::thread::scope(|scope| {
            let ask = |i: usize| {
                let body = with(chat(&format!("{i} birds")), "max_tokens", 300.into());
                content(&server.ask("/v1/chat/completions", &body)).to_owned()
            };
            let asking: Vec<_> = (0..6).map(|i| scope.spawn(move || ask(i))).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        })
    };
    let (small, large) = (start(1), start(1 << 30));
    assert_eq!(answers(&small), answers(&large));
    // What is kept for later is dropped where there is no room for it.
    content(&small.ask("/v1/chat/completions", &chat("one more")));
    let kept = |server: &Server| server.get("/slots").1[0]["kv_bytes"].as_u64().unwrap();
    assert!(kept(&small) < kept(&large) / 4, "{} of {}", kept(&small), kept(&large));
}

#[test]
fn clients_that_leave_free_their_slots() {
    let server = Server::usual();
    let body = with(chat("go on"), "max_tokens", 4000.into());
    for body in [with(body.clone(), "stream", true.into()), body] {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(server.host()).unwrap();
            let text = body.to_string();
            let length = text.len();
            write!(
                stream,
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{text}"
            )
            .unwrap();
            streams.push(stream);
        }
        let start = Instant::now();
        while server.get("/slots").1[0]["running"] != 4 {
            assert!(start.elapsed() < Duration::from_secs(20), "they never began");
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(streams);
        server.wait_until_idle();
    }
    server.ask("/v1/chat/completions", &chat("still there?"));
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let server = Server::usual();
    let path = "/v1/chat/completions";
    for (name, value, told) in [
        ("temprature", json!(1), "temprature is not known"),
        ("temperature", json!("hot"), "temperature is \"hot\""),
        ("temperature", json!(-1), "temperature is -1"),
        ("top_p", json!(1.5), "from 0 to 1"),
        ("n", json!(0), "n is 0"),
        ("n", json!(1_000_000), "n is 1000000"),
        ("stop", json!(""), "stop has an empty text"),
        ("stop", json!(7), "stop is 7"),
        ("max_tokens", json!(-5), "max_tokens must be 0 or more"),
        ("logit_bias", json!({"x": 1}), "logit_bias must be"),
        ("top_logprobs", json!(3), "needs `logprobs`"),
        ("response_format", json!({"type": "yaml"}), "response_format"),
        ("stream_options", json!({}), "is for streams"),
        ("tools", json!([{"type": "function"}]), "tools[0] must be"),
        ("tool_choice", json!("required"), "tool_choice needs `tools`"),
        ("tool_choice", json!("perhaps"), "tool_choice is \"perhaps\""),
        ("tools", tools(), "does not know tools"),
        ("json_schema", json!({"type": "bird"}), "form of the answer"),
        ("parallel_tool_calls", json!(false), "as many calls as the model makes"),
        ("verbosity", json!("low"), "verbosity is \"low\""),
        ("messages", json!([]), "from 1 to"),
        ("messages", json!("hi"), "messages is \"hi\""),
        ("model", json!(3), "model is 3"),
        ("seed", json!(1.5), "seed is 1.5"),
    ] {
        let told_now = server.fails(400, path, &with(chat("x"), name, value));
        assert!(told_now.contains(told), "{name}: {told_now}");
    }
    let told = server.fails(404, path, &with(chat("x"), "model", "gpt".into()));
    assert!(told.contains("served are: llama, bert"), "{told}");
    let long = with(chat(&"bird ".repeat(20_000)), "model", "llama".into());
    assert!(server.fails(400, path, &long).contains("the context of the model 4096"));
    let told = server.fails(400, path, &with(chat("x"), "model", "bert".into()));
    assert!(told.contains("does not go on with texts"), "{told}");
    let told = server.fails(400, "/v1/embeddings", &json!({"model": "llama", "input": 3}));
    assert!(told.contains("input is 3"), "{told}");
    let told = server.fails(400, "/v1/completions", &json!({"prompt": [[999_999]]}));
    assert!(told.contains("999999"), "{told}");
    for body in ["", "{", "[]", "nul", "{\"messages\": 1", "\u{0}"] {
        assert_eq!(server.send("POST", path, &[], body.as_bytes()).0, 400, "{body}");
    }
    assert_eq!(server.send("POST", path, &[], &[b'['; 1 << 20]).0, 400);
    assert_eq!(server.send("POST", path, &[], &vec![b' '; 9 << 20]).0, 413);
    assert_eq!(server.get("/v1/nothing").0, 404);
    assert_eq!(server.get("/../../etc/passwd").0, 404);
    assert_eq!(server.get("/v1/models/%2e%2e%2fetc").0, 404);
    assert_eq!(server.get(path).0, 405);
    assert_eq!(server.send("POST", "/v1/audio/transcriptions", &[], b"x").0, 400);
    // A penalty in bounds and fields that mean nothing here are no matter.
    let body = with(with(chat("x"), "user", "me".into()), "presence_penalty", json!(1.5));
    server.ask(path, &with(body, "metadata", json!({"a": "b"})));
}

#[test]
fn keys_names_and_origins() {
    let server = Server::start(vec![("llama", chat_place(TEMPLATE))], |options| {
        options.keys = vec!["secret".to_owned(), "other".to_owned()];
        options.hosts = vec!["pi.local".to_owned()];
        options.origins = vec!["https://good.example".to_owned()];
    });
    let get = |headers: &[(&str, &str)]| server.send("GET", "/v1/models", headers, b"").0;
    assert_eq!(get(&[]), 401);
    assert_eq!(get(&[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(get(&[("Authorization", "secret")]), 401);
    let key = ("Authorization", "Bearer other");
    assert_eq!(get(&[key]), 200);
    assert_eq!(get(&[key, ("Host", "pi.local:80")]), 200);
    assert_eq!(get(&[key, ("Host", "evil.example")]), 403);
    assert_eq!(server.get("/health").0, 200);
    // Pages from elsewhere are told nothing that a browser would let them read.
    let mut stream = TcpStream::connect(server.host()).unwrap();
    let ask = |stream: &mut TcpStream, origin: &str| {
        write!(
            stream,
            "OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
        )
        .unwrap();
        let mut answer = vec![0; 4096];
        let n = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..n]).to_lowercase()
    };
    let good = ask(&mut stream, "https://good.example");
    assert!(good.contains("access-control-allow-origin: https://good.example"), "{good}");
    let evil = ask(&mut stream, "https://evil.example");
    assert!(!evil.contains("access-control-allow-origin"), "{evil}");
}

#[test]
fn slow_clients_are_not_waited_for() {
    let server = Server::start(vec![("llama", chat_place(TEMPLATE))], |options| {
        options.patience = Duration::from_millis(300);
    });
    let starts: [&[u8]; 3] = [
        b"GET /health HTTP/1.1\r\nHost: loc",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"",
    ];
    for start in starts {
        let mut stream = TcpStream::connect(server.host()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(start).unwrap();
        let mut answer = Vec::new();
        // It ends, with an answer or without.
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.contains("408"), "{answer}");
    }
    let mut stream = TcpStream::connect(server.host()).unwrap();
    let long = format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn encoders_answer_beside_chats() {
    let server = Server::usual();
    let ask = |format: &str| {
        let body =
            json!({"model": "bert", "input": ["a bird", "a ship"], "encoding_format": format});
        server.ask("/v1/embeddings", &body)
    };
    let floats = ask("float");
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    assert!(floats["data"][1]["embedding"][0].is_f64());
    assert!(ask("base64")["data"][0]["embedding"].is_string());
    let body = json!({"model": "bert", "input": "a bird", "dimensions": 4});
    let short = server.ask("/v1/embeddings", &body);
    assert_eq!(short["data"][0]["embedding"].as_array().unwrap().len(), 4);
    let body = json!({"model": "bert", "input": "a bird", "dimensions": 4000});
    assert!(server.fails(400, "/v1/embeddings", &body).contains("dimensions is 4000"));
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("kinglet_requests_total{model=\"bert\"} 4"), "{metrics}");
    let models = server.get("/v1/models").1;
    assert_eq!(models["data"][1]["id"], "bert");
    assert_eq!(server.get("/v1/models/bert").1["id"], "bert");
    assert_eq!(server.get("/props").1["n_ctx"], 4096);
    let prompt = json!({"messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(server.ask("/apply-template", &prompt)["prompt"], "user: hi\n");
    let text = server.ask(
        "/detokenize",
        &json!({"tokens": server.ask("/tokenize", &json!({"content": "a bird"}))["tokens"]}),
    );
    assert_eq!(text["content"].as_str().unwrap().trim(), "a bird");
}

#[test]
fn answers_have_forms_and_tools_are_called() {
    let hermes = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}{% for m in messages %}\
                  {{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments.city }}\
                  {% endif %}\n{% endfor %}";
    let llama = "{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[-1].content }}";
    let places = vec![("hermes", chat_place(hermes)), ("plain", chat_place(llama))];
    let server = Server::start(places, |_| {});
    let body = |model: &str| {
        let body = with(with(chat("x"), "model", model.into()), "max_tokens", 400.into());
        with(body, "ignore_eos", false.into())
    };
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {
        "type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["n"], "additionalProperties": false}}});
    let answer =
        server.ask("/v1/chat/completions", &with(body("plain"), "response_format", format));
    let value: Value = serde_json::from_str(content(&answer)).unwrap();
    assert!((1..=9).contains(&value["n"].as_i64().unwrap()), "{value}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");

    for model in ["hermes", "plain"] {
        let named = json!({"type": "function", "function": {"name": "weather"}});
        for choice in [json!("required"), named] {
            let body = with(with(body(model), "tools", tools()), "tool_choice", choice);
            let answer = server.ask("/v1/chat/completions", &body);
            assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{model}: {answer}");
            let message = &answer["choices"][0]["message"];
            let function = &message["tool_calls"][0]["function"];
            assert_eq!(function["name"], "weather");
            let arguments: Value =
                serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            assert!(["Bern", "Rome"].contains(&arguments["city"].as_str().unwrap()));
            let events = events(
                &mut server
                    .stream("/v1/chat/completions", &with(body.clone(), "stream", true.into())),
            );
            let call =
                events.iter().find(|event| event["choices"][0]["delta"]["tool_calls"].is_array());
            assert_eq!(
                call.unwrap()["choices"][0]["delta"]["tool_calls"][0]["function"],
                *function
            );
            // And back through the template.
            let messages = json!([{"role": "user", "content": "x"}, message, {"role": "tool", "content": "sun"}]);
            let prompt =
                server.ask("/apply-template", &json!({"model": model, "messages": messages}));
            let city = arguments["city"].as_str().unwrap();
            let expected = if model == "hermes" { format!("x{city}sun") } else { "sun".to_owned() };
            assert_eq!(prompt["prompt"], expected);
        }
    }
}

#[test]
fn models_are_closed_when_nobody_asks() {
    let server = Server::start(vec![("llama", chat_place(TEMPLATE))], |options| {
        options.keep_alive = Some(Duration::from_millis(1));
    });
    let is_open =
        || server.get("/metrics").1.as_str().unwrap().contains("model_open{model=\"llama\"} 1");
    assert!(!is_open());
    let first = server.ask("/v1/chat/completions", &chat("a bird"));
    let start = Instant::now();
    while is_open() {
        assert!(start.elapsed() < Duration::from_secs(20), "it stays open");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(content(&server.ask("/v1/chat/completions", &chat("a bird"))), content(&first));
}
