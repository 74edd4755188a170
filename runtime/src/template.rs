//! Chat templates: Jinja with Hugging Face's conventions, sandboxed.
//!
//! A template comes from a model file and is not trusted: it runs with limited fuel, which pays for
//! instructions and for the strings it builds, sees nothing but the conversation, and writes at
//! most [`MAX_PROMPT`] bytes.

mod cost;
mod depth;
mod filters;
mod json;
mod kept;
mod methods;
mod percent;
mod python;
mod raw;

use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::error::Error;

/// Longest template accepted, in bytes.
const MAX_TEMPLATE: usize = 256 << 10;
/// Longest prompt a template may write, in bytes.
const MAX_PROMPT: usize = 16 << 20;
/// Fuel for a prompt of any kind, for each of its messages, for each message once more while another
/// is written, and for each byte of them. A unit pays for an instruction or for 64 bytes of strings.
const FUEL: u64 = 50_000;
const FUEL_PER_MESSAGE: u64 = 1_000;
const FUEL_PER_PAIR: u64 = 16;
const FUEL_PER_BYTE: u64 = 1;
/// Bytes of the template's text that make an instruction, which each message may pass through.
const BYTES_PER_INSTRUCTION: u64 = 4;
/// What is looked for in a prompt to see whether a system message got there.
const PROBE: &str = "c5b1f6e0";

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// Of an assistant's message, what it thought before it wrote the text.
    pub reasoning: Option<String>,
    /// Of an assistant's message, the calls of tools that it makes.
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's message, the id of the call that it answers.
    pub tool_call_id: Option<String>,
    /// Who speaks; of a tool's message, the tool's name.
    pub name: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What the answer to it refers to.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, a JSON object as a rule.
    pub arguments: serde_json::Value,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }

    /// Bytes of everything in it, about.
    fn len(&self) -> usize {
        let calls = self.tool_calls.iter();
        let calls = calls.map(|call| call.name.len() + call.arguments.to_string().len());
        let reasoning = self.reasoning.as_ref().map_or(0, String::len);
        self.content.len() + reasoning + calls.sum::<usize>()
    }
}

/// What a template may read besides messages.
#[derive(Debug)]
pub(crate) struct Extras<'a> {
    pub(crate) tools: Vec<serde_json::Value>,
    pub(crate) thinking: Option<bool>,
    pub(crate) values: &'a serde_json::Map<String, serde_json::Value>,
}

/// A compiled chat template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// What a message costs besides its own bytes.
    fuel_per_message: u64,
    bos_token: String,
    eos_token: String,
    /// As it was given.
    source: String,
}

impl ChatTemplate {
    pub(crate) fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        if source.len() > MAX_TEMPLATE {
            let reason = format!("it has {} bytes, more than {MAX_TEMPLATE}", source.len());
            return Err(Error::Template { reason });
        }
        // As Jinja does, whatever wrote the file.
        let source = &source.replace("\r\n", "\n").replace('\r', "\n");
        let given = source.clone();
        let source = &raw::unfolded(source);
        if let Some(reason) = depth::refusal(source) {
            return Err(Error::Template { reason });
        }
        let fuel_per_message = FUEL_PER_MESSAGE + source.len() as u64 / BYTES_PER_INSTRUCTION;
        let mut environment = Environment::new();
        environment.set_recursion_limit(64);
        // The conventions under which Hugging Face writes templates.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| Error::Template { reason: describe(&e) })?);
        python::install(&mut environment);
        environment.add_function("raise_exception", |message: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let source = python::without_generation_tags(source);
        let source = percent::replaced(&source)
            .map_err(|reason| Error::Template { reason: reason.to_owned() })?;
        let source = kept::guarded(&source).ok_or_else(|| Error::Template {
            reason: "it has names that are kept for the engine".to_owned(),
        })?;
        environment
            .add_template_owned("chat", source)
            .map_err(|e| Error::Template { reason: describe(&e) })?;
        let (bos_token, eos_token) = (bos_token.to_owned(), eos_token.to_owned());
        Ok(Self { environment, fuel_per_message, bos_token, eos_token, source: given })
    }

    /// The prompt for `messages`, ready for the assistant's answer.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, Error> {
        let none = serde_json::Map::new();
        let extras = Extras { tools: Vec::new(), thinking: None, values: &none };
        self.render_with(messages, &extras)
    }

    /// The same with what else a template may read.
    pub(crate) fn render_with(
        &self,
        messages: &[Message],
        extras: &Extras<'_>,
    ) -> Result<String, Error> {
        let tools = extras.tools.iter().map(|tool| tool.to_string().len());
        let values = extras.values.values().map(|value| value.to_string().len());
        let others: usize = tools.chain(values).sum();
        let bytes = messages.iter().map(Message::len).sum::<usize>() + others;
        let n = (messages.len() + extras.tools.len()) as u64;
        let conversation =
            self.fuel_per_message * n + FUEL_PER_PAIR * n * n + FUEL_PER_BYTE * bytes as u64;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + conversation));
        kept::install(&mut environment);
        let template = |e: minijinja::Error| Error::Template { reason: describe(&e) };
        let chat = environment.get_template("chat").map_err(template)?;
        let mut out = Limited::new(MAX_PROMPT);
        let tools = match &extras.tools[..] {
            // There, as with the reference: a template may ask whether they are `none`.
            [] => Value::from(()),
            tools => Value::from(Serde(tools)),
        };
        let values = context! {
            messages => messages.iter().map(value).collect::<Vec<_>>(),
            add_generation_prompt => true,
            tools => tools,
            documents => (),
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        let thinking = extras.thinking.map(|yes| context! { enable_thinking => yes });
        let further = (!extras.values.is_empty()).then(|| Value::from(Serde(extras.values)));
        // The first ones win.
        let values =
            context! { ..values, ..thinking.unwrap_or_default(), ..further.unwrap_or_default() };
        chat.render_captured_to(values, &mut out).map_err(template)?;
        out.into_string().map_err(|reason| Error::Template { reason })
    }
}

impl ChatTemplate {
    /// Whether a system message gets into the prompt; templates may leave it out, or refuse it.
    pub(crate) fn reads_system(&self) -> bool {
        let messages = [Message::new("system", PROBE), Message::new("user", "?")];
        self.render(&messages).is_ok_and(|prompt| prompt.contains(PROBE))
    }

    /// Whether a word stands in the template.
    pub(crate) fn source_mentions(&self, word: &str) -> bool {
        self.source.contains(word)
    }
}

/// A message as templates read it: what it does not have is not there.
fn value(message: &Message) -> Value {
    let mut fields =
        vec![("role", Value::from(&message.role)), ("content", Value::from(&message.content))];
    let calls = message.tool_calls.iter().map(|call| {
        let arguments = Value::from(Serde(&call.arguments));
        let function = context! { name => &call.name, arguments => arguments };
        context! { id => &call.id, type => "function", function => function }
    });
    if !message.tool_calls.is_empty() {
        fields.push(("tool_calls", calls.collect()));
    }
    let others = [
        ("reasoning_content", &message.reasoning),
        ("tool_call_id", &message.tool_call_id),
        ("name", &message.name),
    ];
    fields.extend(
        others
            .into_iter()
            .filter_map(|(key, text)| text.as_ref().map(|text| (key, Value::from(text)))),
    );
    Value::from_pairs(fields)
}

fn describe(error: &minijinja::Error) -> String {
    match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) => "it does too much for this conversation".to_owned(),
        (_, Some(line)) => format!("{error} (line {line})"),
        _ => error.to_string(),
    }
}

/// A writer that refuses to grow without bounds.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
}

impl Limited {
    fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    fn into_string(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|_| "it wrote invalid UTF-8".to_owned())
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(std::io::Error::other(format!("the text exceeds {} bytes", self.most)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn render(template: &str, messages: &[Message]) -> Result<String, Error> {
        ChatTemplate::new(template, "<s>", "</s>")?.render(messages)
    }

    #[test]
    fn chatml() {
        let messages = [Message::new("system", "Be brief."), Message::new("user", "Hi")];
        assert_eq!(
            render(CHATML, &messages).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
             <|im_start|>assistant\n"
        );
    }

    #[test]
    fn python_methods_and_exceptions() {
        let messages = [Message::new("user", " hi ")];
        let template = "{{ bos_token }}{{ messages[0].content.strip() | upper }}";
        assert_eq!(render(template, &messages).unwrap(), "<s>HI");
        let error = render("{{ raise_exception('no system role') }}", &messages).unwrap_err();
        assert!(error.to_string().contains("no system role"), "{error}");
    }

    #[test]
    fn json_is_that_of_python() {
        let messages = [Message::new("user", "it's <b> é")];
        for (template, expected) in [
            ("{{ messages[0].content|tojson }}", r#""it's <b> é""#),
            (
                "{{ [1, 'a', none, true, {'k': 2.5}]|tojson }}",
                r#"[1, "a", null, true, {"k": 2.5}]"#,
            ),
            ("{{ [1, []]|tojson(2) }}", "[\n  1,\n  []\n]"),
            ("{{ [1, []]|tojson(indent=2) }}", "[\n  1,\n  []\n]"),
            ("{{ [1]|tojson(ensure_ascii=False) }}", "[1]"),
        ] {
            assert_eq!(render(template, &messages).unwrap(), expected);
        }
    }

    /// What the reference makes of the same templates; `tests/reference/templates.py` writes it.
    #[test]
    fn values_are_those_of_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/templates/values.json");
        let cases: Vec<(String, Option<String>)> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() > 250);
        let messages = [Message::new("user", "hi ab é"), Message::new("assistant", "Hello, World")];
        let mut wrong = Vec::new();
        for (template, expected) in cases {
            let found = render(&template, &messages);
            if found.as_ref().ok() != expected.as_ref() {
                wrong.push(format!("{template}: {found:?}, not {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn maps_of_a_program_keep_their_order() {
        let schema = r#"{"type": "function", "function": {"name": "f", "description": "d", "a": [{"z": 1, "b": 2}]}}"#;
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let value = Value::from(Serde(&schema));
        let environment = ChatTemplate::new("", "", "").unwrap().environment;
        let text =
            environment.render_str("{{ tool | tojson }}", context! { tool => value }).unwrap();
        assert_eq!(
            text,
            r#"{"type": "function", "function": {"name": "f", "description": "d", "a": [{"z": 1, "b": 2}]}}"#
        );
    }

    #[test]
    fn what_happens_to_system_messages_is_known() {
        let reads = |template| ChatTemplate::new(template, "", "").unwrap().reads_system();
        assert!(reads(CHATML));
        assert!(!reads("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"));
        assert!(!reads(
            "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        ));
    }

    #[test]
    fn long_conversations_in_long_templates_end_well() {
        // Each message passes through all of a long template, and looks through the ones before.
        let checks =
            "{% if m.role == 'tool' and m.content is mapping %}{{ m.name }}{% endif %}".repeat(300);
        let template = format!(
            "{{% for m in messages %}}{checks}{{% for n in messages[:loop.index0] %}}{{% endfor %}}{{{{ m.content }}}}{{% endfor %}}"
        );
        let messages = vec![Message::new("user", "hi"); 400];
        assert_eq!(render(&template, &messages).unwrap(), "hi".repeat(400));
    }

    #[test]
    fn today_is_known() {
        let template = "{% if strftime_now is defined %}{{ strftime_now('%d %B %Y') }}{% endif %}";
        let now = || chrono::Local::now().format("%d %B %Y").to_string();
        let (before, date) = (now(), render(template, &[]).unwrap());
        assert!([before, now()].contains(&date), "{date}");
        for wrong in ["%Q".to_owned(), "%".to_owned(), "%Y".repeat(1000)] {
            let template = format!("{{{{ strftime_now('{wrong}') }}}}");
            assert!(render(&template, &[]).unwrap_err().to_string().contains("no form of a date"));
        }
    }

    #[test]
    fn marks_of_training_and_absent_tools_change_nothing() {
        let messages = [Message::new("assistant", "hi")];
        let template = "{% for m in messages %} {%- generation -%} {{ m.content }} {% endgeneration %}\n\
            {% endfor %}{{ tools is none }}{{ documents is defined }}";
        assert_eq!(render(template, &messages).unwrap(), "hi TrueTrue");
    }

    #[test]
    fn assignments_keep_their_meaning() {
        let messages = [Message::new("user", "hi"), Message::new("assistant", "ho")];
        for (template, expected) in [
            ("a {%- set x = 1 -%} b{{ x }}", "ab1"),
            ("{% set x = 1, 2 %}{{ x[1] }}{% set a, b = x %}{{ a + b }}", "23"),
            ("{% set (a, b) = ('=', ')') %}{{ a }}{{ b }}", "=)"),
            ("{% set x = 'a' if messages[0].role == 'user' else 'b' %}{{ x }}", "a"),
            ("{% set x = nothing %}{{ x is defined }}{{ x }}", "False"),
            ("{% set x = nothing.at.all if false %}{{ x is none }}", "False"),
            ("{% set x | replace('a', 'b', count=1) %}aa{% endset %}{{ x }}", "ba"),
            ("{% set x | tojson(indent=2, ensure_ascii=False) %}a{% endset %}{{ x }}", "\"a\""),
            ("{% set x %}a = {{ 1 }}{% endset %}{{ x }}", "a = 1"),
            (
                "{% set n = namespace(x=0) %}{% for m in messages %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}",
                "2",
            ),
            (
                "{% set n = namespace() %}{% set m = n %}{% set m.x = {'a': [1]} %}{{ n.x.a[0] }}",
                "1",
            ),
            (
                "{% set n = namespace(l=[]) %}{% for m in messages %}{% set n.l = n.l + [m] %}{% endfor %}{{ n.l[1].content }}",
                "ho",
            ),
            (
                "{% set l = messages|map(attribute='role')|list %}{{ l|join(',') }}",
                "user,assistant",
            ),
            (
                "{% set r = range(3) %}{% for i in r %}{{ i }}{% endfor %}{% for i in r %}{{ i }}{% endfor %}",
                "012012",
            ),
            ("{# {% set x = #}{% set x = '%}' %}{{ x }}", "%}"),
            (
                "{% macro f(x) %}{% set y = x ~ 1 %}{{ y }}{% endmacro %}{% set g = f %}{{ g('a') }}",
                "a1",
            ),
            (
                "{%- set n = namespace(step=true, last=messages|length - 1) %}\
                 {%- for m in messages[::-1] %}\
                 {%- set index = (messages|length - 1) - loop.index0 %}\
                 {%- if n.step and m.role == 'user' and not(m.content.startswith('=')) %}\
                 {%- set n.step = false %}{%- set n.last = index %}{%- endif %}{%- endfor %}\
                 {%- set messages = messages[n.last:] %}{{ n.last }}{{ messages[1]['content']|trim }}",
                "0ho",
            ),
            ("{%- set x = -1 -%}{{ x }}{%set y=x%}{{y}}", "-1-1"),
        ] {
            assert_eq!(render(template, &messages).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn hostile_templates_end() {
        let messages = [Message::new("user", "hi")];
        for template in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(1000000000) %}x{% endfor %}",
            "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 9999 }}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            // Strings that double, by every way there is to build them.
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x ~ x %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x + x %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x * 2 %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x|replace('x', x) %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x.replace('x', x) %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = [x, x]|join %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x = x.join([x, x]) %}".repeat(60)),
            &format!("{{% set x = 'xx' %}}{}", "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(60)),
            "{% set n = namespace(x='x') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            // Values that hold themselves, or each other many times over.
            "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
            "{% set n = namespace() %}{% set n.n = {'a': [n]} %}{{ n }}",
            "{% set n = namespace() %}{% set m = namespace(n=n) %}{% set n.m = m %}{{ n }}",
            "{% set n = namespace() %}{% set (n.n, a) = [[n], 1] %}{{ n }}",
            &format!("{}{{{{ a }}}}", "{%set a=[a]%}".repeat(18_000)),
            &format!("{}{{{{ a ~ '' }}}}", "{%set a=[a,a]%}".repeat(60)),
            &format!("{}{{{{ a == a + [1] }}}}", "{%set a={1:a,2:a}%}".repeat(60)),
            &format!("{{%set a=[1]%}}{}{{{{ a|string }}}}", "{%set a=a+a%}".repeat(60)),
            "{% set n = namespace(a=1) %}{% for i in range(9999) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
            "{{ __kept(1) }}",
            "{{ 'x' * 9999999999 }}",
            "{{ '%999999999999d'|format(1) }}",
            "{{ '{:>999999999999}'.format(1) }}",
            "{{ '{0}{0}{0}{0}'.format('x' * 1000000) }}",
            "{{ [[1]]|tojson(indent=999999999) }}",
            "{{ [[1]]|tojson(separators=('x' * 999, 'y')) }}",
            "{{ '%999999999999d' % 1 }}",
            "{{ '%.999999999999f' % 1 }}",
            "{{ ('%(x)s' * 40000) % {'x': 'x' * 100000} }}",
            "{{ 'x'.ljust(999999999999) }}",
            "{{ 'x'.zfill(9999999) }}",
            "{{ 'x'|center(999999999999) }}",
            "{{ __percent('%s', 1) }}",
            &format!("{{% set x = 'xx' %}}{}", "{% set x = '%s%s' % (x, x) %}".repeat(60)),
            &format!("{{{{ 1{} }}}}", " % 3".repeat(300)),
            &format!("{{{{ {} 1 }}}}", "not ".repeat(60_000)),
            &format!("{{{{ {}1 }}}}", "-".repeat(120_000)),
            &format!("{{{{ a{} }}}}", ".b".repeat(100_000)),
            &format!("{{{{ 1{} }}}}", "+1".repeat(100_000)),
            &format!("{{{{ a{} }}}}", "|upper".repeat(40_000)),
            &format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(20_000)),
            "{{ 'a\nb'|indent(999999999999) }}",
            "{{ range(999999999999)|list }}",
            "{% if %}",
            &"{% if true %}".repeat(20_000),
            &format!("{{{{ {} }}}}", "(".repeat(50_000)),
        ] {
            assert!(render(template, &messages).is_err(), "{:.40}", template);
        }
    }
}
