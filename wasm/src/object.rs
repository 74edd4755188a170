//! Reading and writing the properties of plain JavaScript objects.

use js_sys::{Object, Reflect};
use wasm_bindgen::JsValue;

/// An object with these properties.
pub(crate) fn of<const N: usize>(properties: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    for (name, value) in properties {
        set(&object, name, value);
    }
    object
}

/// Sets a property; plain objects take any.
pub(crate) fn set(object: &Object, name: &str, value: impl Into<JsValue>) {
    let set = Reflect::set(object, &name.into(), &value.into());
    debug_assert!(set.is_ok());
}

/// A property, unless it is missing, `undefined` or `null`.
pub(crate) fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(object, &name.into()).ok()?;
    (!value.is_null() && !value.is_undefined()).then_some(value)
}

/// A number of things; exact below 2^53.
pub(crate) fn count(n: usize) -> JsValue {
    JsValue::from(n as f64)
}
