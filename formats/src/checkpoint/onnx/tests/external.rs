//! Data in files beside the model.

use std::fs;
use std::path::Path;

use super::super::sample::external;
use super::*;

/// What opening says about a model whose tensor `a.w` of two floats is so many bytes of a file.
fn open_in(folder: &Path, location: &str, offset: &str, length: &str) -> Result<Vec<f32>, String> {
    let model = Graph::new(vec![external("a.w", &[2], location, offset, length)], vec![]);
    let path = folder.join("model.onnx");
    fs::write(&path, model.file()).unwrap();
    let onnx = Onnx::open(&path).map_err(|error| error.to_string())?;
    assert_eq!(onnx.data_files(), [location.strip_prefix("./").unwrap_or(location)]);
    Ok(parameters(&onnx).remove(0).2)
}

fn data() -> Vec<u8> {
    [9.0f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn data_is_found_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    for name in ["model.onnx_data", "data/weights", "./model.onnx_data"] {
        fs::write(folder.path().join(name), data()).unwrap();
        assert_eq!(open_in(folder.path(), name, "4", "8").unwrap(), [1.0, 2.0], "{name}");
    }
    let onnx = Onnx::open(folder.path().join("model.onnx")).unwrap();
    assert!(onnx.files[1].is_mapped());
}

#[test]
fn data_is_given_by_name() {
    let model = Graph::new(vec![external("a.w", &[2], "w.data", "4", "8")], vec![]).file();
    let parse = |sibling: &dyn Fn(&str) -> Option<Bytes>| {
        Onnx::parse_with(Bytes::copy_of(&model), "model.onnx", sibling)
    };
    let onnx = parse(&|name| (name == "w.data").then(|| Bytes::copy_of(&data()))).unwrap();
    assert_eq!(parameters(&onnx)[0].2, [1.0, 2.0]);
    let error = parse(&|_| None).err().unwrap().to_string();
    assert!(error.contains("\"w.data\", which is not in the same folder"), "{error}");
}

#[test]
fn ranges_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("d"), data()).unwrap();
    for (offset, length, expected) in [
        ("8", "8", "which has 12"),
        ("0", "4", "for which 4 bytes"),
        ("18446744073709551615", "8", "which has 12"),
        ("-1", "8", "offset of its data"),
        ("0", "x", "length of its data"),
    ] {
        let error = open_in(folder.path(), "d", offset, length).unwrap_err();
        assert!(error.contains(expected) && error.contains("\"a.w\""), "{error}");
    }
    fs::write(folder.path().join("empty"), b"").unwrap();
    assert!(open_in(folder.path(), "empty", "0", "8").unwrap_err().contains("empty"));
}

#[test]
fn few_bytes_are_not_the_data_of_many_tensors() {
    let data = Bytes::copy_of(&[0; 1 << 16]);
    for (n, is_sound) in [(2, true), (10, false)] {
        let tensor = |i| external(&format!("a.{i}"), &[1 << 14], "d", "0", "65536");
        let model = Graph::new((0..n).map(tensor).collect(), vec![]).file();
        let onnx = Onnx::parse_with(Bytes::copy_of(&model), "m", &|_| Some(data.clone()));
        assert_eq!(onnx.is_ok(), is_sound);
        let message = onnx.err().map_or_else(String::new, |error| error.to_string());
        assert!(is_sound || message.contains("share their bytes"), "{message}");
    }
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("model");
    fs::create_dir(&folder).unwrap();
    let secret = above.path().join("secret");
    fs::write(&secret, data()).unwrap();
    let absolute = secret.to_str().unwrap();
    for location in ["../secret", absolute, "x/../../secret", "..\\secret", "C:secret", "", "."] {
        let error = open_in(&folder, location, "4", "8").unwrap_err();
        assert!(error.contains("only files in the folder"), "{location}: {error}");
    }
    assert!(open_in(&folder, "missing", "4", "8").unwrap_err().contains("not in the same folder"));
    fs::create_dir(folder.join("sub")).unwrap();
    assert!(open_in(&folder, "sub", "4", "8").unwrap_err().contains("folder"));
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_else() {
    use std::os::unix::fs::symlink;
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(above.path().join("secret"), data()).unwrap();
    symlink("../secret", folder.join("link")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    for location in ["link", "up/secret"] {
        let error = open_in(&folder, location, "4", "8").unwrap_err();
        assert!(error.contains("leads out of the folder"), "{location}: {error}");
    }
    // A link within the folder is a name like another.
    fs::write(folder.join("data"), data()).unwrap();
    symlink("data", folder.join("other")).unwrap();
    assert_eq!(open_in(&folder, "other", "4", "8").unwrap(), [1.0, 2.0]);

    // The cache of Hugging Face: model and data are links into one folder.
    let (snapshot, blobs) = (above.path().join("snapshot"), above.path().join("blobs"));
    fs::create_dir(&snapshot).unwrap();
    fs::create_dir(&blobs).unwrap();
    let model = Graph::new(vec![external("a.w", &[2], "w", "4", "8")], vec![]);
    fs::write(blobs.join("1"), model.file()).unwrap();
    fs::write(blobs.join("2"), data()).unwrap();
    symlink("../blobs/1", snapshot.join("model.onnx")).unwrap();
    symlink("../blobs/2", snapshot.join("w")).unwrap();
    let onnx = Onnx::open(snapshot.join("model.onnx")).unwrap();
    assert_eq!(parameters(&onnx)[0].2, [1.0, 2.0]);
    fs::remove_file(snapshot.join("w")).unwrap();
    symlink("../secret", snapshot.join("w")).unwrap();
    assert!(Onnx::open(snapshot.join("model.onnx")).is_err());
}
