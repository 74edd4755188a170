//! The module `kinglet._native`: the runtime for Python. Its names and their types are in `kinglet/_native.pyi`.

mod arguments;
mod chat;
mod errors;
mod generation;
mod model;
mod quantize;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<model::Model>()?;
    module.add_class::<chat::Chat>()?;
    module.add_class::<chat::Answer>()?;
    module.add_class::<generation::Generation>()?;
    module.add_function(wrap_pyfunction!(quantize::quantize, module)?)?;
    errors::add(module)
}
