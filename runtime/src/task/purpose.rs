//! What a model can be asked for, by the heads it has.

use std::fmt;

use kinglet_formats::kinglet::Meta;
use kinglet_formats::spec::{Head, Input, ModelSpec, Output, Stack};

use crate::error::Error;
use crate::model::Model;
use crate::network::BoundHead;

/// Something a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// To continue a text: [`Model::session`].
    Generate,
    /// A vector of a text: [`Model::embed`].
    Embed,
    /// Scores of labels for a text: [`Model::classify`].
    Classify,
    /// How well a document answers a query: [`Model::rerank`].
    Rerank,
    /// Labels of a text's words: [`Model::tag`].
    Tag,
    /// Tokens for gaps in a text: [`Model::fill_mask`].
    FillMask,
    /// The part of a text that answers a question: [`Model::answer`].
    Answer,
    /// What is said in a sound: [`Model::transcribe`].
    Transcribe,
    /// The same in another language: [`Model::translate`].
    Translate,
    /// A vector of an image: [`Model::embed_images`].
    EmbedImages,
    /// Scores of labels for an image: [`Model::classify_image`].
    ClassifyImages,
}

impl Task {
    /// The name of the command's verb.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Generate => "run",
            Self::Embed => "embed",
            Self::Classify => "classify",
            Self::Rerank => "rerank",
            Self::Tag => "tag",
            Self::FillMask => "fill-mask",
            Self::Answer => "answer",
            Self::Transcribe => "transcribe",
            Self::Translate => "translate",
            Self::EmbedImages => "embed",
            Self::ClassifyImages => "classify",
        }
    }

    /// What a model that is not for it cannot do.
    fn words(self) -> &'static str {
        match self {
            Self::Generate => "continue texts",
            Self::Embed => "embed texts",
            Self::Classify => "classify texts",
            Self::Rerank => "rerank documents",
            Self::Tag => "tag the words of texts",
            Self::FillMask => "fill masks",
            Self::Answer => "answer questions about a text",
            Self::Transcribe => "write down speech",
            Self::Translate => "translate",
            Self::EmbedImages => "embed images",
            Self::ClassifyImages => "classify images",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())
    }
}

impl Task {
    /// What a network can be asked for, in the order of its heads.
    pub fn of(spec: &ModelSpec) -> Vec<Self> {
        let mut tasks: Vec<Self> =
            spec.heads.iter().flat_map(|head| Self::of_head(spec, head)).collect();
        tasks.dedup();
        tasks
    }

    /// What a model can be asked for: what its network can, and what else its file says.
    pub fn of_model(meta: &Meta) -> Vec<Self> {
        let translates = |task| match task {
            Self::Generate if meta.translation.is_some() => Self::Translate,
            other => other,
        };
        Self::of(&meta.spec).into_iter().map(translates).collect()
    }

    fn of_head(spec: &ModelSpec, head: &Head) -> Vec<Self> {
        let Some((_, stack)) = spec.stack_of(head) else { return Vec::new() };
        match (&head.output, &head.pool) {
            (Output::Vector { .. }, Some(_)) if reads_patches(stack) => vec![Self::EmbedImages],
            (Output::Labels { .. }, Some(_)) if reads_patches(stack) => vec![Self::ClassifyImages],
            _ if !reads_tokens(stack) => Vec::new(),
            (Output::Logits { .. }, _) if hears(spec, stack) => vec![Self::Transcribe],
            (Output::Logits { .. }, _) if stack.is_causal() => vec![Self::Generate],
            (Output::Logits { .. }, _) => vec![Self::FillMask],
            (Output::Vector { .. }, Some(_)) => vec![Self::Embed],
            (Output::Labels { .. }, None) => vec![Self::Tag],
            (Output::Labels { .. }, _) if head.chain_size() == 1 => {
                vec![Self::Rerank, Self::Classify]
            }
            (Output::Labels { .. }, _) => vec![Self::Classify],
            (Output::Span, _) => vec![Self::Answer],
            (Output::Vector { .. }, None) => Vec::new(),
        }
    }
}

/// Whether a stack reads what another one makes of sound.
fn hears(spec: &ModelSpec, stack: &Stack) -> bool {
    let mut memories = stack.attentions().filter_map(|a| spec.stack(a.memory.as_ref()?));
    memories.any(|(_, memory)| matches!(memory.input, Input::Spectrogram(_) | Input::Samples(_)))
}

fn reads_patches(stack: &Stack) -> bool {
    matches!(stack.input, Input::Patches(_))
}

fn reads_tokens(stack: &Stack) -> bool {
    matches!(stack.input, Input::Tokens(_))
}

impl Model {
    /// What the model can be asked for, in the order of its heads.
    pub fn tasks(&self) -> Vec<Task> {
        Task::of_model(self.meta())
    }

    /// The head for `task`.
    ///
    /// # Errors
    /// [`Error::WrongTask`] if there is none, which says what the model is for.
    pub(super) fn head_for(&self, task: Task) -> Result<&BoundHead, Error> {
        let spec = &self.meta().spec;
        let heads = spec.heads.iter().zip(&self.runner().network.heads);
        let mut fitting = heads.filter(|(head, _)| Task::of_head(spec, head).contains(&task));
        fitting.next().map(|(_, bound)| bound).ok_or_else(|| self.wrong_task(task.words()))
    }

    /// The error for a model that cannot do what was asked, which says what it is for.
    pub(in crate::task) fn wrong_task(&self, task: &'static str) -> Error {
        let mut verbs: Vec<&str> = self.tasks().into_iter().map(Task::verb).collect();
        verbs.dedup();
        let stacks = &self.meta().spec.stacks;
        let only_images = stacks.iter().all(reads_patches);
        let no_images = !stacks.iter().any(reads_patches);
        let reason = match &verbs[..] {
            [] if only_images => "it reads images".to_owned(),
            [] => "it has no head for any task".to_owned(),
            verbs if only_images => format!("it reads images, for `{}`", verbs.join("` and `")),
            verbs if no_images && task.ends_with("images") => {
                format!("it reads no images; it is for `{}`", verbs.join("` and `"))
            }
            verbs => format!("it is for `{}`", verbs.join("` and `")),
        };
        Error::WrongTask { task, reason }
    }
}
