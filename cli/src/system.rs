//! Whether a model's chat template has a place for instructions.

use kinglet::{Chat, Message};

use crate::failure::Failure;
use crate::output::say;

/// Puts instructions at the beginning of a conversation that has none yet, and says so if the
/// template leaves them out.
pub(crate) fn put(chat: &mut Chat, system: Option<&str>) -> Result<(), Failure> {
    let Some(system) = system.filter(|text| !text.is_empty()) else { return Ok(()) };
    if !chat.template_reads_system() {
        match (prompt(chat, Some(system)), prompt(chat, None)) {
            (Ok(_), _) => say!(
                "the model's chat template has no place for a system text: the model does not see \
                 it; put it into the message instead"
            ),
            (Err(error), Ok(_)) => {
                return Err(Failure::from(error).during("the system text cannot be used"));
            }
            // A template that refuses every message says so when it is used.
            (Err(_), Err(_)) => {}
        }
    }
    chat.reset();
    chat.push(Message::new("system", system));
    Ok(())
}

/// What the template makes of a message, with or without instructions before it.
fn prompt(chat: &mut Chat, system: Option<&str>) -> Result<String, kinglet::Error> {
    chat.reset();
    if let Some(system) = system {
        chat.push(Message::new("system", system));
    }
    chat.push(Message::new("user", "?"));
    Ok(chat.prompt()?.0)
}
