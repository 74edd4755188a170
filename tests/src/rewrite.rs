//! `.kinglet` files changed in one place: another spec, or tensors of another conversion.

use std::path::Path;

use kinglet_formats::kinglet::{KingletFile, Meta, TensorPlan, View, Writer};

/// Writes `file` to `out` with `change` applied to what it says, taking the tensors for which
/// `other` says so from `others`, which has the same tensors.
///
/// # Panics
/// If the result cannot be written.
pub fn rewrite(
    file: &KingletFile,
    out: &Path,
    change: impl FnOnce(&mut Meta),
    others: &KingletFile,
    other: impl Fn(&str) -> bool,
) {
    let mut meta = file.meta().clone();
    change(&mut meta);
    let source = |name: &str| if other(name) { others } else { file };
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let plan = names
        .iter()
        .map(|name| {
            let from = source(name);
            let tensor = &from.tensors()[from.find(name).expect("the same tensors")];
            TensorPlan {
                name: tensor.name.clone(),
                role: tensor.role,
                layout: tensor.layout,
                dims: tensor.dims.iter().map(|&d| d as u64).collect(),
                group: tensor.group,
            }
        })
        .collect();
    let mut writer = Writer::create(out, &meta, file.tokenizer(), plan).expect("a sound plan");
    for name in names {
        let from = source(name);
        match from.view(from.find(name).expect("the same tensors")) {
            View::I8(m) => {
                writer.write(bytemuck::cast_slice(m.data)).expect("written");
                writer.write(bytemuck::cast_slice(m.scales)).expect("written");
            }
            View::I4(m) => {
                writer.write(m.data).expect("written");
                writer.write(bytemuck::cast_slice(m.scales)).expect("written");
            }
            View::F16(m) => writer.write(bytemuck::cast_slice(m.data)).expect("written"),
            View::F32 { data, .. } => writer.write(bytemuck::cast_slice(data)).expect("written"),
            View::U32 { data } => writer.write(bytemuck::cast_slice(data)).expect("written"),
        }
        writer.end_tensor(0.0).expect("written");
    }
    writer.finish().expect("written");
}
