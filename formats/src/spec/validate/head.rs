//! Heads: what they pool, chain and give.

use super::*;

impl ModelSpec {
    pub(super) fn validate_head(&self, i: usize, head: &Head) -> Result<(), SpecError> {
        let at: Place<'_> = &|| format!("heads.{i}");
        let Some((_, stack)) = self.stack_of(head) else {
            return fail(at, format!("there is no stack {:?}", head.stack));
        };
        size(at, "the number of heads", i + 1, 64)?;
        size(at, "the length of the chain", head.chain.len() + 1, 16)?;
        if let Some(pool) = &head.pool {
            pool.validate(at, stack)?;
        }
        let mut k = head.inputs(stack.hidden_size);
        for dense in &head.chain {
            size(at, "a dense layer", dense.size, MAX_SIZE)?;
            matrix(at, "a dense layer", dense.size, k)?;
            norm(at, dense.norm.as_ref())?;
            k = dense.size;
        }
        match &head.output {
            Output::Vector { similarity, .. } => {
                let Some(Similarity { scale, bias, scores }) = *similarity else { return Ok(()) };
                positive(at, "the scale of similarities", scale)?;
                match scores {
                    _ if !bias.is_finite() => {
                        fail(at, format!("the bias of similarities is {bias}"))
                    }
                    Scores::Raw => fail(at, "similarities have no scores"),
                    Scores::Softmax | Scores::Sigmoid => Ok(()),
                }
            }
            Output::Logits { .. } => self.validate_logits(at, i, head, k),
            Output::Labels { .. } | Output::Span => self.validate_task(at, i, head),
        }
    }

    /// A head whose chain gives what a task needs.
    fn validate_task(&self, at: Place<'_>, i: usize, head: &Head) -> Result<(), SpecError> {
        let n = head.chain_size();
        let kind = std::mem::discriminant(&head.output);
        if self.heads[..i].iter().any(|other| std::mem::discriminant(&other.output) == kind) {
            return fail(at, "there is a second head of its kind");
        }
        match head.output {
            Output::Span if head.pool.is_some() => fail(at, "spans are not pooled"),
            Output::Span if n != 2 => fail(at, format!("a span has 2 logits, the chain gives {n}")),
            _ if n == 0 => fail(at, "there is no dense layer that gives labels"),
            _ => Ok(()),
        }
    }

    fn validate_logits(
        &self,
        at: Place<'_>,
        i: usize,
        head: &Head,
        k: usize,
    ) -> Result<(), SpecError> {
        let Output::Logits { tied, scale, soft_cap, shortlist, .. } = head.output else {
            return Ok(());
        };
        let Some((_, stack)) = self.stack_of(head) else { return Ok(()) };
        let Input::Tokens(tokens) = &stack.input else {
            return fail(at, "logits need a stack with a vocabulary");
        };
        if head.pool.is_some() {
            return fail(at, "logits are not pooled");
        }
        if self.heads[..i].iter().any(|other| matches!(other.output, Output::Logits { .. })) {
            return fail(at, "there is a second head of logits");
        }
        let width = tokens.width.unwrap_or(stack.hidden_size);
        if tied && width != k {
            return fail(at, format!("the embeddings have {width} columns, the head has {k}"));
        }
        matrix(at, "the output matrix", tokens.vocab_size, k)?;
        positive(at, "scale", scale)?;
        if let Some(shortlist) = shortlist {
            size(at, "the number of words in a shortlist", shortlist.n_words, 1 << 24)?;
            if stack.attentions().all(|attention| attention.memory.is_none()) {
                return fail(at, "a shortlist needs a stack that reads a source");
            }
            if shortlist.n_frequent > tokens.vocab_size {
                return fail(at, "a shortlist has more frequent words than there are");
            }
        }
        soft_cap.map_or(Ok(()), |cap| positive(at, "soft_cap", cap))
    }
}

impl Pooling {
    fn validate(&self, at: Place<'_>, stack: &Stack) -> Result<(), SpecError> {
        let patches = match &stack.input {
            Input::Patches(patches) => Some(patches),
            _ => None,
        };
        match (self, patches) {
            (Self::Leading { .. } | Self::ClsAndPatches | Self::Attention(_), None) => {
                fail(at, "its pooling is one of images, and its stack reads none")
            }
            (Self::Leading { rows }, Some(patches)) => {
                size(at, "leading rows", *rows, patches.n_leading)
            }
            (Self::ClsAndPatches, Some(patches)) => {
                size(at, "rows before the patches", patches.n_leading, MAX_SIZE)
            }
            (Self::Attention(pool), Some(patches)) => {
                // What heads make is kept where the rows of an image were.
                size(at, "heads of the pooling", pool.n_heads, patches.n_rows())?;
                if !stack.hidden_size.is_multiple_of(pool.n_heads) {
                    let problem = format!("{} heads of {}", pool.n_heads, stack.hidden_size);
                    return fail(at, problem);
                }
                size(at, "intermediate_size", pool.intermediate_size, MAX_SIZE)?;
                matrix(at, "a projection", pool.intermediate_size, stack.hidden_size)?;
                matrix(at, "a projection", stack.hidden_size, stack.hidden_size)?;
                norm(at, Some(&pool.norm))
            }
            _ => Ok(()),
        }
    }
}
