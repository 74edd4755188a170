//! Images: their vectors, their labels, and what texts say of them.

use kinglet_formats::spec::{Scores, Similarity};

use super::classify::{LabelScore, scored, scores_of, sorted};
use super::pass::BATCH_TOKENS;
use super::{Task, ZeroShotOptions};
use crate::error::Error;
use crate::media::image::{Image, patches};
use crate::model::Model;
use crate::network::{BoundHead, BoundInput, BoundOutput, BoundPatches};
use crate::step::Batch;

impl Model {
    /// One vector per image, in order: of a model that reads images and texts, those that
    /// [`Model::embed`] gives for texts can be compared with them.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("clip.kinglet")?;
    /// # let pixels = vec![0; 640 * 480 * 3];
    /// let photo = kinglet::Image::new(640, 480, pixels)?;
    /// let vectors = model.embed_images(&[photo])?;
    /// let texts = model.embed(&["a photo of a small bird"])?;
    /// let cosine: f32 = vectors[0].iter().zip(&texts[0]).map(|(a, b)| a * b).sum();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model is not for vectors of images, or memory runs out.
    pub fn embed_images(&self, images: &[Image]) -> Result<Vec<Vec<f32>>, Error> {
        self.pass_images(self.head_for(Task::EmbedImages)?, images)
    }

    /// One vector per image, in order, as a head of labels behind the same pooling reads it: not scaled
    /// to length one. Labels can be learned on them.
    ///
    /// # Errors
    /// As [`Model::embed_images`].
    pub fn image_features(&self, images: &[Image]) -> Result<Vec<Vec<f32>>, Error> {
        self.pass_images(&self.head_for(Task::EmbedImages)?.unscaled(), images)
    }

    /// Scores of the model's labels for an image, the best first.
    ///
    /// # Errors
    /// If the model classifies no images, or memory runs out.
    pub fn classify_image(&self, image: &Image) -> Result<Vec<LabelScore>, Error> {
        Ok(self.classify_images(std::slice::from_ref(image))?.pop().unwrap_or_default())
    }

    /// The same for several images, in order.
    ///
    /// # Errors
    /// As [`Model::classify_image`].
    pub fn classify_images(&self, images: &[Image]) -> Result<Vec<Vec<LabelScore>>, Error> {
        let head = self.head_for(Task::ClassifyImages)?;
        let logits = self.pass_images(head, images)?;
        Ok(logits.iter().map(|row| sorted(self.labels(), scores_of(head, row))).collect())
    }

    /// Scores of any labels for an image, the best first, by a model that compares images with texts: of
    /// the statements that the options make of the labels, [`ZeroShotOptions::for_images`].
    ///
    /// # Errors
    /// If the model does not compare images with texts, there are no labels, the template has no `{}`,
    /// or `multi` is asked of a model whose labels compete.
    pub fn classify_image_zero_shot<L: AsRef<str>>(
        &self,
        image: &Image,
        labels: &[L],
        options: &ZeroShotOptions,
    ) -> Result<Vec<LabelScore>, Error> {
        let images = std::slice::from_ref(image);
        Ok(self.classify_images_zero_shot(images, labels, options)?.pop().unwrap_or_default())
    }

    /// The same for several images, in order; the statements are read once.
    ///
    /// # Errors
    /// As [`Model::classify_image_zero_shot`].
    pub fn classify_images_zero_shot<L: AsRef<str>>(
        &self,
        images: &[Image],
        labels: &[L],
        options: &ZeroShotOptions,
    ) -> Result<Vec<Vec<LabelScore>>, Error> {
        let head = self.head_for(Task::EmbedImages)?;
        let BoundOutput::Vector { similarity: Some(similarity), .. } = head.output else {
            return Err(self.wrong_task("compare images with texts"));
        };
        if options.multi && similarity.scores == Scores::Softmax {
            return Err(Error::InvalidOption {
                name: "multi",
                value: "true".to_owned(),
                range: "false for this model, which compares labels with each other",
            });
        }
        let (labels, statements) = options.statements(labels)?;
        let texts = self.embed(&statements)?;
        let images = self.pass_images(head, images)?;
        let all = images.iter().map(|image| {
            let logits = texts.iter().map(|text| logit(similarity, image, text));
            sorted(&labels, scored(similarity.scores, &logits.collect::<Vec<_>>()))
        });
        Ok(all.collect())
    }

    /// The patches that the model makes of an image: resized, cropped and scaled as it was trained, one
    /// after another, each `[channels][y][x]`, for [`Model::hidden_states`].
    ///
    /// # Errors
    /// If the model reads no images, or does not say how they become its input.
    pub fn patches(&self, image: &Image) -> Result<Vec<f32>, Error> {
        let network = &self.runner().network;
        let stack = network.reader(|input| matches!(input, BoundInput::Patches(_)));
        match stack.map(|stack| &network.stacks[stack].input) {
            Some(BoundInput::Patches(bound)) => self.prepared(bound, image),
            _ => Err(self.wrong_task("read images")),
        }
    }

    fn prepared(&self, bound: &BoundPatches, image: &Image) -> Result<Vec<f32>, Error> {
        let Some(recipe) = &self.meta().preprocessing else {
            let reason = "its file does not say how they are prepared; convert the checkpoint with its \
                          preprocessor_config.json, or give patches to `hidden_states`";
            return Err(Error::WrongTask { task: "read images", reason: reason.to_owned() });
        };
        Ok(patches(image, recipe, bound.image_size, bound.patch_size))
    }

    /// What `head`, which pools, makes of each image.
    fn pass_images(&self, head: &BoundHead, images: &[Image]) -> Result<Vec<Vec<f32>>, Error> {
        let stack = &self.runner().network.stacks[head.stack];
        let (BoundInput::Patches(bound), Some(pool)) = (&stack.input, &head.pool) else {
            return Err(self.wrong_task("read images"));
        };
        let at_once = (BATCH_TOKENS / bound.n_rows).max(1);
        let capacity = BATCH_TOKENS.max(bound.n_rows);
        let mut made = Vec::with_capacity(images.len());
        for images in images.chunks(at_once) {
            let prepared = images.iter().map(|image| self.prepared(bound, image));
            let prepared: Vec<Vec<f32>> = prepared.collect::<Result<_, _>>()?;
            let numbers: Vec<usize> = (0..images.len()).collect();
            let fill = |batch: &mut Batch| {
                prepared.iter().for_each(|patches| batch.push_image(patches, bound.n_rows));
            };
            self.pass_pooled((head, pool), capacity, &numbers, fill, &|_| 0, &mut |_, _, row| {
                made.push(row.to_vec());
            })?;
        }
        Ok(made)
    }
}

/// How well vectors of length one belong together.
fn logit(similarity: Similarity, a: &[f32], b: &[f32]) -> f32 {
    let cosine: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    (f64::from(similarity.scale) * cosine + f64::from(similarity.bias)) as f32
}
