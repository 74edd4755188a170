//! Chat templates: Jinja with Hugging Face's conventions, sandboxed.
//!
//! A template comes from a model file and is not trusted: it runs with a limited number of
//! instructions, sees nothing but the conversation, and writes at most [`MAX_PROMPT`] bytes.

use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::error::Error;

/// Longest template accepted, in bytes.
const MAX_TEMPLATE: usize = 256 << 10;
/// Longest prompt a template may write, in bytes.
const MAX_PROMPT: usize = 16 << 20;
/// Instructions of the template engine for one prompt.
const FUEL: u64 = 2_000_000;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    pub(crate) fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        if source.len() > MAX_TEMPLATE {
            let reason = format!("it has {} bytes, more than {MAX_TEMPLATE}", source.len());
            return Err(Error::Template { reason });
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(64);
        // The conventions under which Hugging Face writes templates.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| Error::Template { reason: describe(&e) })?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|e| Error::Template { reason: describe(&e) })?;
        let (bos_token, eos_token) = (bos_token.to_owned(), eos_token.to_owned());
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The prompt for `messages`, ready for the assistant's answer.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, Error> {
        let template = |e: minijinja::Error| Error::Template { reason: describe(&e) };
        let chat = self.environment.get_template("chat").map_err(template)?;
        let mut out = Limited(Vec::new());
        let values = context! {
            messages => messages.iter().map(value).collect::<Vec<_>>(),
            add_generation_prompt => true,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        chat.render_captured_to(values, &mut out).map_err(template)?;
        String::from_utf8(out.0)
            .map_err(|_| Error::Template { reason: "it wrote invalid UTF-8".to_owned() })
    }
}

fn value(message: &Message) -> Value {
    context! { role => &message.role, content => &message.content }
}

fn describe(error: &minijinja::Error) -> String {
    match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) => format!("it did not end within {FUEL} instructions"),
        (_, Some(line)) => format!("{error} (line {line})"),
        _ => error.to_string(),
    }
}

/// A writer that refuses to grow without bounds.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT {
            return Err(std::io::Error::other(format!("the prompt exceeds {MAX_PROMPT} bytes")));
        }
        self.0.extend_from_slice(bytes);
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
    fn hostile_templates_end() {
        let messages = [Message::new("user", "hi")];
        for template in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(1000000000) %}x{% endfor %}",
            "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 9999 }}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% if %}",
            &"{% if true %}".repeat(20_000),
            &format!("{{{{ {} }}}}", "(".repeat(50_000)),
        ] {
            assert!(render(template, &messages).is_err(), "{:.40}", template);
        }
    }
}
