//! One vector per text: texts packed into batches without padding, pooled and normalised.

use kinglet_formats::kinglet::{Filler, Prompt};

use crate::error::Error;
use crate::memory::{MemoryPlan, Room};
use crate::model::Model;
use crate::network::{BoundHead, BoundInput};
use crate::tokenizer::EncodeOptions;

use super::pass::{BATCH_TOKENS, Sequence};
use super::{Task, TextLength};

/// What enters a network's first stack.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Token ids, special tokens included.
    Tokens(&'a [u32]),
    /// The patches of an image, one after another, each `[channels][y][x]`.
    Patches(&'a [f32]),
    /// A log-mel spectrogram `[frames][n_mels]`, whole or cut after a row.
    Spectrogram(&'a [f32]),
    /// Samples of sound, mono, at the model's rate.
    Samples(&'a [f32]),
}

/// How texts are embedded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EmbedOptions {
    prompt: PromptChoice,
}

#[derive(Clone, Debug, Default)]
enum PromptChoice {
    #[default]
    Default,
    None,
    Named(String),
}

impl EmbedOptions {
    /// Puts the model's prompt called `name` before each text, not its default.
    pub fn prompt(self, name: impl Into<String>) -> Self {
        Self { prompt: PromptChoice::Named(name.into()) }
    }

    /// Puts nothing before the texts.
    pub fn without_prompt(self) -> Self {
        Self { prompt: PromptChoice::None }
    }
}

/// A text's vector, and how much of the text it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// As long as the model's head is wide.
    pub vector: Vec<f32>,
    /// Of the text with its prompt.
    pub length: TextLength,
}

impl Model {
    /// One vector per text, in order: as [`Model::embed_with`], with the model's default prompt.
    ///
    /// # Errors
    /// As [`Model::embed_with`].
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, Error> {
        let embeddings = self.embed_with(texts, &EmbedOptions::default())?;
        Ok(embeddings.into_iter().map(|embedding| embedding.vector).collect())
    }

    /// One embedding per text, in order.
    ///
    /// Texts longer than [`Model::text_tokens`] are cut, and each embedding tells whether its text
    /// was.
    ///
    /// # Errors
    /// If the model is not for embeddings or has no such prompt, or memory runs out.
    pub fn embed_with<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EmbedOptions,
    ) -> Result<Vec<Embedding>, Error> {
        let head = self.head_for(Task::Embed)?;
        let prompt = self.prompt(options)?;
        let unpooled = self.unpooled(prompt)?;
        let read = |text: &T| match prompt {
            "" => self.read_text(text.as_ref()),
            prompt => self.read_text(&format!("{prompt}{}", text.as_ref())),
        };
        let mut read: Vec<_> = texts.iter().map(read).collect();
        if let Some(Filler { token, length }) =
            self.meta().embedding.as_ref().and_then(|e| e.filler)
        {
            let ids = read.iter_mut().map(|(encoding, _)| &mut encoding.ids);
            ids.for_each(|ids| ids.resize(ids.len().max(length), token));
        }
        let ids: Vec<&[u32]> = read.iter().map(|(encoding, _)| &encoding.ids[..]).collect();
        let vectors = self.embed_lists(head, &ids, unpooled)?;
        let lengths = read.iter().map(|(_, length)| *length);
        Ok(vectors
            .into_iter()
            .zip(lengths)
            .map(|(vector, length)| Embedding { vector, length })
            .collect())
    }

    /// One vector per text, in order, as a head of labels behind the same pooling reads it: without a
    /// prompt, and not scaled to length one. Labels can be learned on them.
    ///
    /// # Errors
    /// If the model is not for embeddings, or memory runs out.
    pub fn features<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, Error> {
        let head = self.head_for(Task::Embed)?.unscaled();
        let read: Vec<_> = texts.iter().map(|text| self.read_text(text.as_ref()).0).collect();
        let ids: Vec<&[u32]> = read.iter().map(|encoding| &encoding.ids[..]).collect();
        self.embed_lists(&head, &ids, 0)
    }

    /// The prompts that the model's file has, in its order.
    pub fn prompts(&self) -> &[Prompt] {
        self.meta().embedding.as_ref().map_or(&[], |embedding| &embedding.prompts)
    }

    /// The text that goes before each text.
    fn prompt(&self, options: &EmbedOptions) -> Result<&str, Error> {
        let embedding = self.meta().embedding.as_ref();
        let name = match &options.prompt {
            PromptChoice::Default => embedding.and_then(|e| e.default_prompt.as_ref()),
            PromptChoice::None => None,
            PromptChoice::Named(name) => Some(name),
        };
        let Some(name) = name else { return Ok("") };
        let known = || self.prompts().iter().map(|prompt| prompt.name.clone()).collect();
        let unknown = || Error::UnknownPrompt { name: name.clone(), known: known() };
        Ok(&embedding.and_then(|e| e.prompt(name)).ok_or_else(unknown)?.text)
    }

    /// Rows of a prompt that are left out when rows become one.
    fn unpooled(&self, prompt: &str) -> Result<usize, Error> {
        let unpooled = self.meta().embedding.as_ref().is_some_and(|e| e.prompt_unpooled);
        if prompt.is_empty() || !unpooled {
            return Ok(0);
        }
        // With what comes before a text, without the token that ends one.
        let options = EncodeOptions { add_special: true, parse_special: false };
        let tokens = self.tokenizer().encode(prompt, options);
        let ends = tokens.last().is_some_and(|&last| self.tokenizer().is_special(last));
        let (tokens, most) = (tokens.len() - usize::from(ends), self.text_tokens());
        if tokens >= most {
            let what = "the prompt, with a token of the text,".to_owned();
            return Err(Error::TextTooLong { what, tokens: tokens + 1, limit: most });
        }
        Ok(tokens)
    }

    /// One vector per list of token ids, special tokens included, in order.
    ///
    /// # Errors
    /// If the model is not for embeddings, a list is empty or longer than the context, or memory runs
    /// out.
    pub fn embed_tokens(&self, tokens: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        let ids: Vec<&[u32]> = tokens.iter().map(|ids| &ids[..]).collect();
        self.embed_lists(self.head_for(Task::Embed)?, &ids, 0)
    }

    /// The same with the first `unpooled` rows of each left out when its rows become one.
    fn embed_lists(
        &self,
        head: &BoundHead,
        ids: &[&[u32]],
        unpooled: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let sequences: Vec<Sequence<'_>> =
            ids.iter().map(|ids| Sequence { ids, type_ids: &[], unpooled }).collect();
        let mut vectors = vec![Vec::new(); ids.len()];
        self.pass_all(head, &sequences, &|_| Vec::new(), &mut |text, _, vector| {
            vectors[text] = vector.to_vec();
        })?;
        Ok(vectors)
    }

    /// The rows `[rows][hidden_size]` that the network's first stack for such an input makes of it: for a
    /// bidirectional stack, one per token or patch (and before these, learned ones such as a class
    /// token), after the final norm.
    ///
    /// # Errors
    /// If the model takes another kind of input, the input is empty or has another size than the
    /// model's, or the first stack is one that generates: its hidden states live in a session.
    pub fn hidden_states(&self, input: Input<'_>) -> Result<Vec<Vec<f32>>, Error> {
        let runner = self.runner();
        // Of two towers, that of images.
        let images = runner.network.reader(|input| matches!(input, BoundInput::Patches(_)));
        let images = images.filter(|_| matches!(input, Input::Patches(_)));
        let entry = images.unwrap_or_else(|| runner.network.entry());
        let stack = &runner.network.stacks[entry];
        let wrong = |reason: &str| Error::WrongTask {
            task: "give hidden states of this input",
            reason: reason.to_owned(),
        };
        if stack.causal {
            return Err(wrong("its stack generates, token by token"));
        }
        let n_rows = match (input, &stack.input) {
            (Input::Tokens([]), _) => return Err(Error::Empty { what: "the list of tokens" }),
            (Input::Tokens(tokens), BoundInput::Tokens(_)) => tokens.len(),
            (Input::Patches(patches), BoundInput::Patches(bound)) => {
                let expected = (bound.n_rows - bound.n_leading) * bound.patch_len;
                if patches.len() != expected {
                    return Err(wrong(&format!(
                        "its images have {expected} values, {} are given",
                        patches.len()
                    )));
                }
                bound.n_rows
            }
            (Input::Spectrogram(frames), BoundInput::Spectrogram(bound)) => {
                bound.n_rows(frames.len()).map_err(|reason| wrong(&reason))?
            }
            (Input::Samples(samples), BoundInput::Samples(bound)) => {
                bound.n_rows(samples.len()).map_err(|reason| wrong(&reason))?
            }
            (_, BoundInput::Tokens(_)) => return Err(wrong("it reads text")),
            (_, BoundInput::Patches(_)) => return Err(wrong("it reads images")),
            (_, BoundInput::Spectrogram(_) | BoundInput::Samples(_)) => {
                return Err(wrong("it hears sound"));
            }
        };
        let context_length = stack.max_positions;
        if n_rows > context_length {
            return Err(Error::ContextFull { used: 0, wanted: n_rows, context_length });
        }
        let fill = |batch: &mut crate::step::Batch| match input {
            Input::Tokens(tokens) => batch.push_passing(tokens, &[]),
            Input::Patches(patches) => batch.push_image(patches, n_rows),
            Input::Spectrogram(frames) => batch.push_spectrogram(frames, n_rows),
            Input::Samples(samples) => batch.push_samples(samples, n_rows),
        };
        let rows = runner.pass(entry, n_rows, fill, &|| true, |rows| {
            Ok(rows.hidden().chunks_exact(stack.hidden_size).map(<[f32]>::to_vec).collect())
        })?;
        Ok(rows.unwrap_or_default())
    }

    /// Longest text or pair of texts that an encoder takes in whole, in tokens, special ones included.
    pub fn text_tokens(&self) -> usize {
        let limit = self.meta().embedding.as_ref().map_or(usize::MAX, |e| e.max_tokens);
        limit.min(self.context_length())
    }

    /// What embedding batches of texts of up to `max_tokens` tokens takes.
    pub(crate) fn embedding_plan(&self, max_tokens: usize) -> Result<MemoryPlan, Error> {
        let (capacity, mut room) = (BATCH_TOKENS.max(max_tokens), Room::plan());
        let runner = self.runner();
        runner.workspace(capacity, &mut room)?;
        let layout = runner.passing_layout(runner.network.entry());
        Ok(MemoryPlan::new(&runner.file, capacity, &layout, &room))
    }
}
