//! A model, and what it can be asked for.

use std::path::PathBuf;

use kinglet::{
    AnswerOptions, EmbedOptions, Image, ModelOptions, SearchOptions, TagOptions, Task,
    TranscribeOptions, TranslateOptions, ZeroShotOptions,
};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods};

use crate::arguments::generate_options;
use crate::chat::Chat;
use crate::errors::{self, OptionError};
use crate::generation::Generation;

/// A model, mapped into memory; processes that open the same file share it.
#[pyclass(module = "kinglet", frozen)]
pub(crate) struct Model {
    model: kinglet::Model,
    path: PathBuf,
    threads: Option<usize>,
}

/// Vectors as the rows of an array.
fn array<'py>(py: Python<'py>, rows: &[Vec<f32>]) -> PyResult<Bound<'py, PyArray2<f32>>> {
    PyArray2::from_vec2(py, rows).map_err(|error| OptionError::new_err(error.to_string()))
}

/// `[height][width][3]` bytes as an image.
fn image(pixels: &PyReadonlyArray3<'_, u8>) -> PyResult<Image> {
    let &[height, width, channels] = pixels.shape() else {
        return Err(OptionError::new_err("an image must be an array [height, width, 3]"));
    };
    if channels != 3 {
        let why =
            format!("an image must be an array [height, width, 3], not of {channels} channels");
        return Err(OptionError::new_err(why));
    }
    // Copied, as an array may be a view with strides.
    let pixels = pixels.as_array().iter().copied().collect();
    Image::new(width, height, pixels).map_err(errors::of)
}

/// What makes a model again, and its arguments.
type Reduced<'py> = (Bound<'py, PyAny>, (PathBuf, Option<usize>));

#[pymethods]
impl Model {
    /// Opens a `.kinglet` file.
    #[staticmethod]
    #[pyo3(signature = (path, *, threads=None, kernels=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        threads: Option<usize>,
        kernels: Option<String>,
    ) -> PyResult<Self> {
        if !path.exists() {
            return Err(errors::missing(&path));
        }
        let mut options = ModelOptions::default();
        options.threads = threads;
        options.kernels = kernels;
        let model = py.detach(|| kinglet::Model::open_with(&path, &options)).map_err(errors::of)?;
        Ok(Self { model, path, threads })
    }

    /// Pickled as a path: whoever gets it opens the file again.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let opener = slf.py().import("kinglet")?.getattr("_reopen")?;
        let this = slf.get();
        Ok((opener, (std::path::absolute(&this.path)?, this.threads)))
    }

    fn __repr__(&self) -> String {
        let name = &self.model.meta().general.name;
        format!("Model({name:?}, kernels={:?}, threads={})", self.kernels(), self.threads())
    }

    #[getter]
    fn name(&self) -> String {
        self.model.meta().general.name.clone()
    }

    #[getter]
    fn kernels(&self) -> &'static str {
        self.model.kernel_set()
    }

    #[getter]
    fn threads(&self) -> usize {
        self.model.n_threads()
    }

    #[getter]
    fn context_length(&self) -> usize {
        self.model.context_length()
    }

    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.labels().to_vec()
    }

    /// The methods that the model is made for.
    #[getter]
    fn tasks(&self) -> Vec<&'static str> {
        let method = |task: &Task| match task {
            Task::Generate => Some("generate"),
            Task::Embed => Some("embed"),
            Task::Classify => Some("classify"),
            Task::Rerank => Some("rerank"),
            Task::Tag => Some("tag"),
            Task::FillMask => Some("fill_mask"),
            Task::Answer => Some("answer"),
            Task::Transcribe => Some("transcribe"),
            Task::Translate => Some("translate"),
            Task::EmbedImages => Some("embed_images"),
            Task::ClassifyImages => Some("classify_image"),
            _ => None,
        };
        self.model.tasks().iter().filter_map(method).collect()
    }

    #[pyo3(signature = (text, *, add_special=true))]
    fn tokenize(&self, text: &str, add_special: bool) -> Vec<u32> {
        let options = kinglet::tokenizer::EncodeOptions { add_special, parse_special: false };
        self.model.tokenizer().encode(text, options)
    }

    #[pyo3(signature = (tokens, *, skip_special=true))]
    fn detokenize(&self, tokens: Vec<u32>, skip_special: bool) -> String {
        self.model.tokenizer().decode(&tokens, skip_special)
    }

    /// Goes on with a text, piece by piece.
    #[pyo3(signature = (prompt, **options))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let options = generate_options(options)?;
        py.detach(|| {
            let mut session = self.model.session()?;
            let state = session.restart(prompt, &options)?;
            Ok(Generation::new(session, state))
        })
        .map_err(errors::of)
    }

    /// A conversation, which may begin with instructions.
    #[pyo3(signature = (system=None))]
    fn chat(&self, system: Option<String>) -> PyResult<Chat> {
        let mut chat = self.model.chat().map_err(errors::of)?;
        if let Some(system) = system {
            chat.set_system(system);
        }
        Ok(Chat::new(chat))
    }

    /// A vector for each text: `[texts, dims]`.
    #[pyo3(signature = (texts, *, prompt=None))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
        prompt: Option<String>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let options = match prompt {
            None => EmbedOptions::default(),
            Some(name) if name.is_empty() => EmbedOptions::default().without_prompt(),
            Some(name) => EmbedOptions::default().prompt(name),
        };
        let vectors = py.detach(|| self.model.embed_with(&texts, &options)).map_err(errors::of)?;
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(|one| one.vector).collect();
        array(py, &vectors)
    }

    /// A vector for each image, `[height, width, 3]` bytes.
    fn embed_images<'py>(
        &self,
        py: Python<'py>,
        images: Vec<PyReadonlyArray3<'py, u8>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let images = images.iter().map(image).collect::<PyResult<Vec<Image>>>()?;
        let vectors = py.detach(|| self.model.embed_images(&images)).map_err(errors::of)?;
        array(py, &vectors)
    }

    /// Labels and scores of each text, the best first; of any labels, where they are given.
    #[pyo3(signature = (texts, labels=None, *, template=None, multi=false))]
    fn classify(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        labels: Option<Vec<String>>,
        template: Option<String>,
        multi: bool,
    ) -> PyResult<Vec<Vec<(String, f32)>>> {
        let found = py.detach(|| match &labels {
            None => self.model.classify(&texts),
            Some(labels) => {
                let options = zero_shot(ZeroShotOptions::default(), template, multi);
                self.model.classify_zero_shot(&texts, labels, &options)
            }
        });
        let found = found.map_err(errors::of)?;
        Ok(found.into_iter().map(|one| pairs(one.scores)).collect())
    }

    /// The same of an image.
    #[pyo3(signature = (image, labels=None, *, template=None, multi=None))]
    fn classify_image(
        &self,
        py: Python<'_>,
        image: PyReadonlyArray3<'_, u8>,
        labels: Option<Vec<String>>,
        template: Option<String>,
        multi: Option<bool>,
    ) -> PyResult<Vec<(String, f32)>> {
        let image = self::image(&image)?;
        let found = py.detach(|| match &labels {
            None => self.model.classify_image(&image),
            Some(labels) => {
                let own = ZeroShotOptions::for_images();
                let multi = multi.unwrap_or(own.multi);
                let options = zero_shot(own, template, multi);
                self.model.classify_image_zero_shot(&image, labels, &options)
            }
        });
        Ok(pairs(found.map_err(errors::of)?))
    }

    /// Names, places and the like in each text; places are counted in characters.
    fn tag<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
    ) -> PyResult<Vec<Vec<Bound<'py, PyDict>>>> {
        let options = TagOptions::default().characters(true);
        let found = py.detach(|| self.model.tag(&texts, &options)).map_err(errors::of)?;
        let entity = |entity: kinglet::Entity| {
            let all = PyDict::new(py);
            all.set_item("label", entity.label)?;
            all.set_item("score", entity.score)?;
            all.set_item("text", entity.text)?;
            all.set_item("start", entity.start)?;
            all.set_item("end", entity.end)?;
            Ok(all)
        };
        let of_text = |one: kinglet::Tagged| one.entities.into_iter().map(entity).collect();
        found.into_iter().map(of_text).collect()
    }

    /// The likeliest tokens of each gap of a text: token, score, and the text with it.
    #[pyo3(signature = (text, k=5))]
    fn fill_mask(
        &self,
        py: Python<'_>,
        text: &str,
        k: usize,
    ) -> PyResult<Vec<Vec<(String, f32, String)>>> {
        let gaps = py.detach(|| self.model.fill_mask(text, k)).map_err(errors::of)?;
        let fill = |fill: kinglet::Fill| (fill.token, fill.score, fill.text);
        Ok(gaps.into_iter().map(|gap| gap.into_iter().map(fill).collect()).collect())
    }

    /// The parts of a text that answer a question: text, score, start and end in characters.
    #[pyo3(signature = (question, context, top=1))]
    fn answer(
        &self,
        py: Python<'_>,
        question: &str,
        context: &str,
        top: usize,
    ) -> PyResult<Vec<(String, f32, usize, usize)>> {
        let options = AnswerOptions::default().top(top).characters(true);
        let found =
            py.detach(|| self.model.answer(question, context, &options)).map_err(errors::of)?;
        Ok(found.into_iter().map(|one| (one.text, one.score, one.start, one.end)).collect())
    }

    /// The places of documents in the order in which they answer a query, with scores.
    fn rerank(
        &self,
        py: Python<'_>,
        query: &str,
        documents: Vec<String>,
    ) -> PyResult<Vec<(usize, f32)>> {
        let found = py.detach(|| self.model.rerank(query, &documents)).map_err(errors::of)?;
        Ok(found.into_iter().map(|one| (one.index, one.score)).collect())
    }

    /// Texts in another language.
    #[pyo3(signature = (texts, *, source=None, target=None, beams=None))]
    fn translate(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        source: Option<String>,
        target: Option<String>,
        beams: Option<usize>,
    ) -> PyResult<Vec<String>> {
        let mut options = TranslateOptions::default();
        options.from = source;
        options.to = target;
        if let Some(beams) = beams {
            options = options.beams(beams);
        }
        let found = py.detach(|| self.model.translate(&texts, &options)).map_err(errors::of)?;
        Ok(found.into_iter().map(|one| one.text).collect())
    }

    /// Answers to texts, of models that read one and write another.
    fn text_to_text(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<Vec<String>> {
        let options = SearchOptions::default();
        let found = py.detach(|| self.model.text_to_text(&texts, &options)).map_err(errors::of)?;
        Ok(found.into_iter().map(|one| one.text).collect())
    }

    /// What is said in samples at 16 kHz, one channel.
    #[pyo3(signature = (samples, *, language=None, translate=false, words=false))]
    fn transcribe<'py>(
        &self,
        py: Python<'py>,
        samples: PyReadonlyArray1<'py, f32>,
        language: Option<String>,
        translate: bool,
        words: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut options = TranscribeOptions::default().translate(translate).words(words);
        options.language = language;
        let samples = samples.as_slice().map_err(|_| {
            OptionError::new_err("samples must lie one after another: numpy.ascontiguousarray")
        })?;
        let heard = py.detach(|| self.model.transcribe(samples, &options)).map_err(errors::of)?;
        let all = PyDict::new(py);
        all.set_item("text", heard.text)?;
        all.set_item("language", heard.language)?;
        let segments = heard.segments.into_iter().map(|segment| {
            let one = PyDict::new(py);
            one.set_item("start", segment.start)?;
            one.set_item("end", segment.end)?;
            one.set_item("text", segment.text)?;
            let words = segment.words.into_iter().map(|word| (word.text, word.start, word.end));
            one.set_item("words", words.collect::<Vec<_>>())?;
            Ok(one)
        });
        all.set_item("segments", segments.collect::<PyResult<Vec<_>>>()?)?;
        Ok(all)
    }

    /// The logits `[vocab_size]` after tokens.
    fn logits<'py>(
        &self,
        py: Python<'py>,
        tokens: Vec<u32>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let logits = py.detach(|| {
            let mut session = self.model.session()?;
            session.feed(&tokens)?;
            Ok(session.logits().to_vec())
        });
        Ok(PyArray1::from_vec(py, logits.map_err(errors::of)?))
    }
}

fn zero_shot(options: ZeroShotOptions, template: Option<String>, multi: bool) -> ZeroShotOptions {
    let options = options.multi(multi);
    match template {
        Some(template) => options.template(template),
        None => options,
    }
}

fn pairs(scores: Vec<kinglet::LabelScore>) -> Vec<(String, f32)> {
    scores.into_iter().map(|one| (one.label, one.score)).collect()
}
