//! A file written is the file read; a writer leaves nothing behind that is not whole.

use std::fs;
use std::path::Path;

use super::*;
use crate::layout::Layout;
use crate::map::Bytes;

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn assert_is_sample(file: &KingletFile) {
    assert_eq!(*file.meta(), sample::meta());
    assert_eq!(file.tokenizer(), sample::TOKENIZER);
    assert_eq!(file.version(), VERSION);
    assert_eq!(file.tensors().len(), sample::plan().len());
    for (i, plan) in sample::plan().iter().enumerate() {
        let tensor = &file.tensors()[i];
        assert_eq!(file.find(&plan.name), Some(i));
        let dims: Vec<u64> = tensor.dims.iter().map(|&d| d as u64).collect();
        assert_eq!(
            (&tensor.name, tensor.role, tensor.layout, dims, tensor.group),
            (&plan.name, plan.role, plan.layout, plan.dims.clone(), plan.group)
        );
        let values = sample::values(plan);
        let (rows, cols) = (tensor.rows(), tensor.cols());
        assert_eq!(rows * cols, values.len());
        let mut out = vec![0.0; cols];
        let mut sum_sq_error = 0.0;
        for (r, expected) in values.chunks_exact(cols).enumerate() {
            match file.view(i) {
                View::I8(matrix) => {
                    assert_eq!((matrix.rows, matrix.cols), (rows, cols));
                    matrix.row(r, &mut out);
                }
                View::I4(matrix) => matrix.row(r, &mut out),
                View::F16(matrix) => matrix.row(r, &mut out),
                View::F32 { dims, data } => {
                    assert_eq!(dims, tensor.dims);
                    out.copy_from_slice(&data[r * cols..][..cols]);
                }
                View::U32 { data } => {
                    out.iter_mut().zip(&data[r * cols..]).for_each(|(x, &n)| *x = n as f32);
                }
            }
            let squares = out.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2));
            sum_sq_error += squares.sum::<f64>();
        }
        let sum_sq: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let relative = (sum_sq_error / sum_sq).sqrt() as f32;
        assert!((relative - tensor.relative_error).abs() <= 1e-3 * relative, "{}", tensor.name);
        let most = if tensor.layout == Layout::I4R8K16 { 0.08 } else { 0.01 };
        assert!(relative < most, "{}", tensor.name);
        let exact = matches!(tensor.layout, Layout::F32Rows | Layout::U32Rows);
        assert_eq!(relative == 0.0, exact);
    }
    assert_eq!(file.find("decoder"), None);
    let mut last = (0, 0);
    file.verify(&mut |done, total| last = (done, total)).unwrap();
    assert_eq!(last, (2 * file.data_len(), 2 * file.data_len()));
}

#[test]
fn what_is_written_is_read_from_a_mapping_and_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.kinglet");
    for piece in [usize::MAX, 1, 7, 64] {
        sample::write(&path, piece).unwrap();
        assert_eq!(names(folder.path()), ["sample.kinglet"]);
        let mapped = KingletFile::open(&path).unwrap();
        assert_is_sample(&mapped);
        assert_is_sample(&KingletFile::from_bytes(Bytes::read(&path).unwrap()).unwrap());
        assert_eq!(mapped.file_len(), fs::metadata(&path).unwrap().len());
        assert_eq!(mapped.bytes()[..], sample::bytes(), "the same bytes every time");
        // Writing over a file that is mapped leaves the mapping as it was.
        sample::write(&path, 100).unwrap();
        assert_is_sample(&mapped);
    }
}

#[test]
fn planes_begin_where_the_description_says() {
    let bytes = sample::bytes();
    let file = KingletFile::from_bytes(Bytes::copy_of(&bytes)).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(bytes[..8], *b"\x89KGL\r\n\x1a\n");
    assert_eq!(bytes[8..16], [2, 0, 5, 0, 0, 0, 0, 0]);
    assert_eq!(u64_at(16), bytes.len() as u64);
    let mut at = 128;
    for length in [24, 32, 40, 48].map(u64_at) {
        at = (at + length).next_multiple_of(64);
    }
    assert_eq!(at + u64_at(56), bytes.len() as u64);
    let index = bytes.len() as u64 - u64_at(56) - 64 - u64_at(40);
    assert_eq!(u64_at(48), 32, "one chunk, padded to 64 bytes");
    // The third record: up_proj, [9, 70] g64, two planes after [11, 9] f16 and [9] f32.
    let record = index as usize + 2 * 256;
    assert!(bytes[record..].starts_with(b"decoder.layers.0.up_proj.weight\0"));
    assert_eq!(bytes[record + 112..record + 124], [1, 0, 1, 0, 2, 2, 0, 0, 64, 0, 0, 0]);
    assert_eq!(u64_at(record + 128), 9);
    assert_eq!(u64_at(record + 136), 70);
    let start = (16u64 * 9 * 2).next_multiple_of(64) + 64;
    assert_eq!(u64_at(record + 160), start);
    assert_eq!(u64_at(record + 168), 16 * 128);
    assert_eq!(u64_at(record + 176), start + 16 * 128);
    assert_eq!(u64_at(record + 184), 2 * 2 * 8 * 2);
    for i in 0..file.tensors().len() {
        let start = match file.view(i) {
            View::I8(m) => {
                assert_eq!(m.scales.as_ptr() as usize % 64, 0);
                m.data.as_ptr() as usize
            }
            View::I4(m) => {
                assert_eq!(m.scales.as_ptr() as usize % 64, 0);
                m.data.as_ptr() as usize
            }
            View::F16(m) => m.data.as_ptr() as usize,
            View::F32 { data, .. } => data.as_ptr() as usize,
            View::U32 { data } => data.as_ptr() as usize,
        };
        assert_eq!(start % 64, 0);
    }
}

#[test]
fn many_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.kinglet");
    for values in [CHUNK / 4, CHUNK / 4 * 2 + 16, CHUNK / 4 * 2 - 16] {
        let data: Vec<f32> = (0..values).map(|i| i as f32).collect();
        let plan = TensorPlan {
            name: "w".to_owned(),
            role: Role::Matrix,
            layout: Layout::F32Rows,
            dims: vec![values as u64],
            group: 0,
        };
        let mut writer = Writer::create(&path, &sample::meta(), b"", vec![plan]).unwrap();
        for piece in bytemuck::cast_slice(&data).chunks(1_000_003) {
            writer.write(piece).unwrap();
        }
        writer.end_tensor(0.0).unwrap();
        let length = writer.file_len();
        writer.finish().unwrap();
        let file = KingletFile::open(&path).unwrap();
        assert_eq!(file.file_len(), length);
        assert!(file.tokenizer().is_empty());
        file.verify(&mut |_, _| {}).unwrap();
        assert!(matches!(file.view(0), View::F32 { data: read, .. } if read == data));
    }
}

#[test]
fn no_tensors_and_no_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.kinglet");
    Writer::create(&path, &sample::meta(), b"", vec![]).unwrap().finish().unwrap();
    let file = KingletFile::open(&path).unwrap();
    file.verify(&mut |_, _| {}).unwrap();
    assert_eq!((file.tensors().len(), file.data_len()), (0, 0));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.kinglet");
    fs::write(&path, "an older model").unwrap();
    let mut writer =
        Writer::create(&path, &sample::meta(), sample::TOKENIZER, sample::plan()).unwrap();
    writer.write(&[0; 100]).unwrap();
    assert_eq!(names(folder.path()).len(), 2);
    drop(writer);
    assert_eq!(names(folder.path()), ["sample.kinglet"]);
    assert_eq!(fs::read(&path).unwrap(), b"an older model");
}

#[test]
fn a_plan_that_is_not_kept_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.kinglet");
    let create = || Writer::create(&path, &sample::meta(), b"", sample::plan()).unwrap();
    let message = |result: Result<(), KingletError>| result.unwrap_err().to_string();

    let mut writer = create();
    writer.write(&[0; 100]).unwrap();
    let short = message(writer.end_tensor(0.0));
    assert_eq!(
        short,
        "tensor `decoder.embed_tokens.weight`: 288 bytes expected for [11, 9] f16.r8k1, 100 written"
    );
    assert!(message(writer.write(&[0; 189])).contains("289 written"));
    writer.write(&[0; 188]).unwrap();
    assert!(message(writer.end_tensor(f32::NAN)).contains("relative error is NaN"));
    assert!(message(writer.end_tensor(-1.0)).contains("relative error is -1"));
    writer.end_tensor(0.0).unwrap();
    assert!(message(writer.finish()).contains("`decoder.layers.0.attn_norm.weight` is missing"));

    let mut writer = create();
    for tensor in sample::plan() {
        writer.write(&sample::encode(&tensor).0).unwrap();
        writer.end_tensor(0.0).unwrap();
    }
    assert!(message(writer.write(&[0])).contains("all planned tensors"));
    assert!(message(writer.end_tensor(0.0)).contains("all planned tensors"));
    assert!(names(folder.path()).iter().all(|name| name.ends_with(".partial")));
    drop(writer);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn impossible_plans_and_targets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.kinglet");
    type Change<'a> = &'a dyn Fn(&mut Vec<TensorPlan>);
    let message = |path: &Path, change: Change<'_>| {
        let mut plan = sample::plan();
        change(&mut plan);
        Writer::create(path, &sample::meta(), b"", plan).err().unwrap().to_string()
    };
    let cases: [(&str, Change<'_>); 7] = [
        ("`table`: the name is used twice", &|plan| plan[1].name = "table".to_owned()),
        ("113 bytes long, at most 112", &|plan| plan[1].name = "x".repeat(113)),
        ("record 1: the name is empty", &|plan| plan[1].name.clear()),
        ("control characters", &|plan| plan[1].name = "a\0b".to_owned()),
        ("is zero", &|plan| plan[1].dims = vec![0]),
        ("group 48 does not exist in layout i8.r8k8", &|plan| plan[2].group = 48),
        ("longer than 2^63", &|plan| {
            for tensor in &mut plan[..2] {
                tensor.layout = Layout::F32Rows;
                tensor.dims = vec![1 << 59];
            }
        }),
    ];
    for (expected, change) in cases {
        let message = message(&path, change);
        assert!(message.contains(expected), "{message}");
    }
    let none = |_: &mut Vec<TensorPlan>| {};
    assert!(message(folder.path(), &none).contains("it is a folder"));
    assert!(message(&path.join("below"), &none).contains("folder does not exist"));
    assert!(message(Path::new("/"), &none).contains("names no file"));
    assert!(names(folder.path()).is_empty());

    let mut meta = sample::meta();
    meta.spec.stacks[0].layers[0].blocks.clear();
    let error = Writer::create(&path, &meta, b"", vec![]).err().unwrap().to_string();
    assert!(error.contains("decoder.layers.0: the number of blocks is 0"), "{error}");
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (model, other) = (folder.path().join("sample.kinglet"), folder.path().join("other"));
    sample::write(&model, usize::MAX).unwrap();
    fs::write(&other, "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(model), mode(other));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = sample::write(&path, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("name a file"), "{error}");
    assert_eq!(names(folder.path()), ["socket"]);
}

#[test]
fn causes_in_the_system_are_told_with_what_to_do() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let message = new_file::write_error(Path::new("models/a.kinglet"), 4321, full).to_string();
    assert!(message.contains("models/a.kinglet: 4321 bytes are needed"), "{message}");
    for kind in [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::ReadOnlyFilesystem] {
        let message = new_file::write_error(Path::new("a.kinglet"), 1, kind.into()).to_string();
        assert!(message.contains("choose another folder"), "{message}");
    }
}

/// Run with `cargo test -p kinglet-formats write_fuzz_seeds -- --ignored` after changing the format.
#[test]
#[ignore = "writes fuzz/seeds"]
fn write_fuzz_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/kinglet");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("all_layouts"), sample::bytes()).unwrap();
}
