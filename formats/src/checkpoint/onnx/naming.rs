//! What a weight was called in the model that a graph was exported from.

/// What quantizers put behind the names of what they replace.
const QUANTIZED: [&str; 7] =
    ["_quantized", "_DequantizeLinear_Output", "_dequantized", "_quant", "_Q4", "_Q8", "_q"];
/// Behind the name of a matrix that a quantizer has turned.
const TURNED: [&str; 2] = ["_Transposed", "_transposed"];
/// Behind the name of a tensor that several graphs share since optimum merged them, before a number.
const MERGED: &str = "_merged_";
/// How names of parameters without a module end.
const PLAIN: [&str; 7] =
    ["bias", "embed", "embedding", "embeddings", "projection", "token", "tokens"];
/// Where exporters note the modules that an operation belongs to.
pub(super) const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// A name that a tensor has in a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label<'a> {
    pub(super) name: &'a str,
    /// The graph has its transpose.
    pub(super) is_turned: bool,
}

/// The name in the model of a tensor that the graph calls `name`, if that has been kept.
pub(super) fn label(name: &str, is_quantized: bool) -> Option<Label<'_>> {
    let name = unmerged(name);
    let mut kept = name;
    if is_quantized {
        // A number may say how many weights share a scale, as in `_Q4G32`.
        let bare =
            name.rsplit_once('G').filter(|(_, n)| is_number(n)).map_or(name, |(bare, _)| bare);
        let ending = QUANTIZED.iter().find(|ending| bare.ends_with(*ending));
        kept = ending.and_then(|ending| bare.strip_suffix(ending)).unwrap_or(name);
    }
    let (name, is_turned) = match TURNED.iter().find_map(|turned| kept.strip_suffix(turned)) {
        Some(stem) => (stem, true),
        None => (kept, false),
    };
    is_dotted(name).then_some(Label { name, is_turned })
}

/// The name that a tensor had before graphs were merged.
pub(super) fn unmerged(name: &str) -> &str {
    match name.rsplit_once(MERGED) {
        Some((former, number)) if is_number(number) => former,
        _ => name,
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name is one of modules and a parameter, joined by dots.
fn is_dotted(name: &str) -> bool {
    name.contains('.') && is_module(name)
}

/// Whether a name may be that of a parameter of the outermost module, which has no dots: results of
/// computations have such names, too, but not these.
pub(super) fn is_plain(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ending = name.rsplit_once('_').map(|(_, ending)| ending);
    name.chars().all(is_word) && ending.is_some_and(|ending| PLAIN.contains(&ending))
}

/// `a.query.weight` of `a.query_2.weight`: the weight of a module before it is used again.
pub(super) fn uncounted(name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let (first, count) = module.rsplit_once('_')?;
    let is_count = !count.is_empty() && is_number(count);
    is_count.then(|| format!("{first}.{parameter}"))
}

/// The module whose scope the name of a node tells: `/encoder/layer.0/query/MatMul` is of
/// `encoder.layer.0.query`.
pub(super) fn module(node: &str) -> Option<String> {
    let (scope, _) = node.strip_prefix('/')?.rsplit_once('/')?;
    let mut modules: Vec<&str> = Vec::new();
    for part in scope.split('/') {
        // What a sequence holds carries its name: `net/net.0`.
        let is_inside = modules
            .last()
            .is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.')));
        if is_inside {
            modules.pop();
        }
        modules.push(part);
    }
    let name = modules.join(".");
    is_module(&name).then_some(name)
}

/// Whether a name is one of a module inside others, joined by dots.
fn is_module(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    };
    name.split('.').all(is_part)
}

/// The module in a note of the scopes around an operation: a list of texts as Python writes it, from
/// the outermost module to the operation itself.
pub(super) fn noted_module(scopes: &str) -> Option<&str> {
    let quoted: Vec<&str> = scopes.split('\'').skip(1).step_by(2).collect();
    let (_, modules) = quoted.split_last()?;
    modules.last().copied().filter(|name| is_module(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_without_what_quantizers_add() {
        let kept = |name, is_turned| Some(Label { name, is_turned });
        for (name, is_quantized, expected) in [
            ("a.b.weight", false, kept("a.b.weight", false)),
            ("a.b.weight_quantized", true, kept("a.b.weight", false)),
            ("a.b.weight_quantized", false, kept("a.b.weight_quantized", false)),
            ("a.b.weight_q", true, kept("a.b.weight", false)),
            ("a.b.weight_transposed_quantized", true, kept("a.b.weight", true)),
            ("a.b.weight_Q4G32", true, kept("a.b.weight", false)),
            ("a.b.weight_merged_0", false, kept("a.b.weight", false)),
            ("a.b.weight_quantized_merged_12", true, kept("a.b.weight", false)),
            ("a.b_merged_x", false, kept("a.b_merged_x", false)),
            ("onnx::MatMul_12_merged_0", false, None),
            ("a.b.weight", true, kept("a.b.weight", false)),
            ("onnx::MatMul_12_quantized", true, None),
            ("/a/Constant_output_0", false, None),
            ("val_12", false, None),
            ("a..b", false, None),
        ] {
            assert_eq!(label(name, is_quantized), expected, "{name}");
        }
        for (name, expected) in
            [("cls_token", true), ("val_12", false), ("new_ones", false), ("embedding", false)]
        {
            assert_eq!(is_plain(name), expected, "{name}");
        }
    }

    #[test]
    fn modules_by_scope() {
        for (node, expected) in [
            ("/encoder/layer.0/attention/q_lin/MatMul", Some("encoder.layer.0.attention.q_lin")),
            ("/encoder/q_lin/MatMul_quant", Some("encoder.q_lin")),
            ("/net/net.0/net.0.1/Gemm", Some("net.0.1")),
            ("/layer.1/layer.10/Gemm", Some("layer.1.layer.10")),
            ("/MatMul_3", None),
            ("MatMul_3", None),
            ("node_MatMul_3", None),
            ("//MatMul", None),
        ] {
            assert_eq!(module(node).as_deref(), expected, "{node}");
        }
        assert_eq!(uncounted("a.q_12.weight").as_deref(), Some("a.q.weight"));
        assert_eq!(uncounted("a.q_.weight").or(uncounted("a.q.weight_1")), None);
        let scopes = "['', 'encoder', 'encoder.layer.0.query', 'linear_1']";
        assert_eq!(noted_module(scopes), Some("encoder.layer.0.query"));
        for scopes in ["", "[]", "['']", "['', 'linear']", "['a b', 'linear']"] {
            assert_eq!(noted_module(scopes), None, "{scopes}");
        }
    }
}
