use std::path::PathBuf;

use super::*;
use crate::checkpoint::{Safetensors, open_folder};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/pytorch")).join(name)
}

fn parse(file: &[u8]) -> Result<Pytorch, CheckpointError> {
    Pytorch::parse(Bytes::copy_of(file), "pytorch_model.bin")
}

fn values(checkpoint: &dyn Checkpoint, index: usize) -> Vec<u32> {
    let info = &checkpoint.tensors()[index];
    let mut out = vec![f32::NAN; info.n_rows() * info.row_len()];
    checkpoint.read_rows(index, 0, &mut out).unwrap();
    out.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn files_saved_by_pytorch_have_their_values() {
    let expected = Safetensors::open(golden("expected.golden")).unwrap();
    for name in ["zip.bin", "protocol4.bin", "legacy.bin"] {
        let checkpoint = Pytorch::open(golden(name)).unwrap();
        assert_eq!(checkpoint.tensors().len(), expected.tensors().len(), "{name}");
        for (index, info) in checkpoint.tensors().iter().enumerate() {
            let in_expected = expected.find(&info.name).unwrap();
            assert_eq!(info.dims, expected.tensors()[in_expected].dims, "{name} {}", info.name);
            let found = values(&checkpoint, index);
            assert_eq!(found, values(&expected, in_expected), "{name} {}", info.name);
            assert_eq!(checkpoint.find(&info.name), Some(index));

            // Each row by itself is the same.
            let row_len = info.row_len();
            for (row, expected) in found.chunks(row_len.max(1)).enumerate() {
                let mut out = vec![0.0; row_len];
                checkpoint.read_rows(index, row, &mut out).unwrap();
                assert!(out.iter().map(|v| v.to_bits()).eq(expected.iter().copied()));
            }
        }
        let rows = checkpoint.find("rows").unwrap();
        let whole = checkpoint.find("whole").unwrap();
        let shared = &checkpoint.raw(whole).unwrap()[40..80];
        assert_eq!(checkpoint.raw(rows).unwrap().as_ptr(), shared.as_ptr());
        for strided in ["transposed", "columns", "permuted", "wide"] {
            let error = checkpoint.raw(checkpoint.find(strided).unwrap());
            assert!(matches!(error, Err(CheckpointError::NotInOrder { .. })));
        }
    }
}

#[test]
fn a_wrapped_state_dict_is_unwrapped() {
    let checkpoint = Pytorch::open(golden("wrapped.bin")).unwrap();
    let names: Vec<_> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["encoder.weight", "bias"]);
}

#[test]
fn a_whole_module_is_refused_with_the_name_it_asks_for() {
    let error = Pytorch::open(golden("module.bin")).err().unwrap().to_string();
    assert!(error.contains("module.bin"), "{error}");
    assert!(error.contains("torch.nn.modules.linear.Linear"), "{error}");
    assert!(error.contains("never runs pickled code"), "{error}");
}

#[test]
fn a_folder_of_several_files_is_joined() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("zip.bin"), folder.path().join("pytorch_model-1.bin")).unwrap();
    std::fs::copy(golden("wrapped.bin"), folder.path().join("pytorch_model-2.bin")).unwrap();
    std::fs::write(
        folder.path().join("pytorch_model.bin.index.json"),
        r#"{"weight_map":{"weight":"pytorch_model-1.bin","encoder.weight":"pytorch_model-2.bin"}}"#,
    )
    .unwrap();
    let checkpoint = open_folder(folder.path()).unwrap();
    assert_eq!(values(&*checkpoint, 0), values(&*checkpoint, 1));
}

/// A zip archive of entries stored as they are.
pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let sizes = [(content.len() as u32).to_le_bytes(); 2].concat();
        let name_len = (name.len() as u16).to_le_bytes();
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 16]);
        directory.extend(&sizes);
        directory.extend(name_len);
        directory.extend([0; 12]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend([0; 14]);
        file.extend(&sizes);
        file.extend(name_len);
        file.extend([0; 2]);
        file.extend(name.as_bytes());
        file.extend(*content);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A tensor with the storage `key` of type `class` and length `len`, as a pickle makes it.
pub(crate) fn tensor(
    class: &str,
    key: &str,
    len: i32,
    offset: i32,
    dims: &[i32],
    strides: &[i32],
) -> Vec<u8> {
    let int = |n: i32| [b"J".as_slice(), &n.to_le_bytes()].concat();
    let tuple = |items: &[i32]| {
        let items = items.iter().flat_map(|&n| int(n)).collect::<Vec<_>>();
        [b"(", items.as_slice(), b"t"].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".as_slice(),
        &text("storage"),
        format!("ctorch\n{class}\n").as_bytes(),
        &text(key),
        &text("cpu"),
        &int(len),
        b"tQ",
        &int(offset),
        &tuple(dims),
        &tuple(strides),
        b"Nccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// The pickle of a dictionary whose only entry is `t`.
fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}".as_slice(), &text("t"), value, b"s."].concat()
}

fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle), ("m/data/0", &[1; 24])])
}

pub(crate) fn small() -> Vec<u8> {
    with_pickle(&pickle(&tensor("FloatStorage", "0", 6, 1, &[2, 2], &[1, 2])))
}

fn message(file: &[u8]) -> String {
    match parse(file) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_writer_of_these_tests_writes_valid_files() {
    let checkpoint = parse(&small()).unwrap();
    assert_eq!(checkpoint.tensors()[0].dims, [2, 2]);
    let value = u32::from_le_bytes([1; 4]);
    assert_eq!(values(&checkpoint, 0), [value; 4]);
}

#[test]
fn a_type_of_elements_may_come_with_an_untyped_storage() {
    let v2 = tensor("UntypedStorage", "0", 24, 2, &[3], &[1]);
    let v3 = String::from_utf8(v2.clone()).unwrap().replace("tensor_v2", "tensor_v3");
    let v3 = v3.replace(")RtR", ")Rctorch\nbfloat16\ntR");
    let checkpoint = parse(&with_pickle(&pickle(v3.as_bytes()))).unwrap();
    assert_eq!(checkpoint.tensors()[0].dtype, DType::BF16);
    assert!(message(&with_pickle(&pickle(&v2))).contains("a type of elements"));
}

/// As Python's own pickles of these values have them.
#[test]
fn what_lies_beside_tensors_is_read_over() {
    let float8 = tensor("Float8_e4m3fnStorage", "0", 24, 0, &[3], &[1]);
    for value in [
        b"ctorch\nSize\n(K\x02K\x03t\x85R".as_slice(),
        b"ctorch\ndevice\nX\x04\0\0\0cuda\x85R",
        b"c__builtin__\nset\n](K\x01K\x02e\x85R",
        b"\x8f(K\x01K\x02\x90",
        b"(K\x01K\x02\x91",
        b"C\x03abc",
        b"B\x03\0\0\0abc",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\0\0\0f8\x89\x88tR\
          (K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbC\x08\0\0\0\0\0\0\0\0tR",
        b"cargparse\nNamespace\n)R}X\x01\0\0\0aK\x01sb",
        b"ctorch\nfloat8_e4m3fn\n",
        &float8,
    ] {
        let beside = tensor("FloatStorage", "0", 6, 1, &[2, 2], &[1, 2]);
        let pickle = [b"\x80\x02}".as_slice(), &text("x"), value, b"s", &text("t"), &beside, b"s."];
        let checkpoint = parse(&with_pickle(&pickle.concat())).unwrap();
        assert_eq!(checkpoint.tensors().len(), 1);
        assert_eq!(checkpoint.tensors()[0].name, "t");
    }
}

#[test]
fn pickles_that_ask_for_more_are_refused() {
    let global = |module: &str, name: &str| format!("c{module}\n{name}\n").into_bytes();
    let call = |function: &[u8]| pickle(&[function, b"(", &text("true"), b"tR"].concat());
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch", "ComplexFloatStorage"),
        ("torch.storage", "_load_from_bytes"),
        ("collections", "OrderedDict.__init__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ] {
        let message = message(&with_pickle(&call(&global(module, name))));
        assert!(message.contains(&format!("asks for \"{module}.{name}\"")), "{message}");
        assert!(message.contains("safetensors"), "{message}");
    }
    let stack_global = [text("posix"), text("system"), b"\x93".to_vec()].concat();
    assert!(message(&with_pickle(&call(&stack_global))).contains("\"posix.system\""));
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, BYTEARRAY8, PERSID, and bytes that mean nothing.
    for opcode in [b'i', b'o', 0x81, 0x92, 0x82, 0x96, b'P', 0xff] {
        let message = message(&with_pickle(&pickle(&[opcode])));
        assert!(message.contains(&format!("instruction {opcode:#04x}")), "{message}");
    }
    for damaged in [
        b"K\x01)R".as_slice(),
        b"ctorch\nFloatStorage\n)R",
        b"K\x01K\x01b",
        b"K\x01Q",
        b"K\x01K\x01a",
        b"K\x01K\x01K\x01s",
        b"(K\x01\x85",
        b"(\x86",
        b"h\x09",
        b"t",
        b"000000",
        b"ccollections\nOrderedDict\nK\x01\x85R",
        b"ccollections\nOrderedDict\n](K\x01ta\x85R",
        b"X\x01\0\0\0\xff",
    ] {
        let message = message(&with_pickle(&pickle(damaged)));
        assert!(message.contains("is damaged at byte"), "{damaged:?}: {message}");
    }
}

#[test]
fn tensors_stay_within_their_storage() {
    let at = |class, key, len, offset, dims: &[i32], strides: &[i32]| {
        message(&with_pickle(&pickle(&tensor(class, key, len, offset, dims, strides))))
    };
    let cases = [
        (at("FloatStorage", "1", 6, 0, &[6], &[1]), "no entry \"m/data/1\""),
        (at("FloatStorage", "../0", 6, 0, &[6], &[1]), "no entry \"m/data/../0\""),
        (at("FloatStorage", "0", 7, 0, &[6], &[1]), "takes 24 bytes, but 28"),
        (at("DoubleStorage", "0", 6, 0, &[6], &[1]), "takes 24 bytes, but 48"),
        (at("FloatStorage", "0", 6, 0, &[7], &[1]), "element 7 of its storage, which has 6"),
        (at("FloatStorage", "0", 6, 1, &[6], &[1]), "element 7"),
        (at("FloatStorage", "0", 6, 0, &[2, 2], &[5, 1]), "element 7"),
        (at("FloatStorage", "0", 6, 0, &[1 << 20], &[0]), "element 1048576"),
        (at("FloatStorage", "0", 6, -1, &[6], &[1]), "an offset"),
        (at("FloatStorage", "0", 6, 0, &[-6], &[1]), "a size"),
        (at("FloatStorage", "0", 6, 0, &[6], &[-1]), "strides"),
        (at("FloatStorage", "0", 6, 0, &[6], &[1, 1]), "a stride for each"),
        (at("FloatStorage", "0", 6, 0, &[1; 9], &[1; 9]), "at most 8"),
        (at("FloatStorage", "0", 6, 0, &[i32::MAX; 8], &[0; 8]), "product"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
    let empty = tensor("FloatStorage", "0", 6, i32::MAX, &[0, 3], &[3, 1]);
    let checkpoint = parse(&with_pickle(&pickle(&empty))).unwrap();
    assert!(checkpoint.raw(0).unwrap().is_empty());
    let single = tensor("FloatStorage", "0", 6, 0, &[1, 6], &[i32::MAX, 1]);
    let checkpoint = parse(&with_pickle(&pickle(&single))).unwrap();
    assert_eq!(checkpoint.raw(0).unwrap().len(), 24);
}

#[test]
fn archives_are_checked() {
    let tensor = pickle(&tensor("FloatStorage", "0", 6, 0, &[6], &[1]));
    let good = with_pickle(&tensor);
    parse(&good).unwrap();
    let directory = good.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let changed = |at: usize, value: u8| {
        let mut file = good.clone();
        file[at] = value;
        message(&file)
    };
    assert!(changed(directory + 8, 1).contains("\"m/data/0\" of the archive is encrypted"));
    assert!(changed(directory + 10, 8).contains("is compressed"));
    assert!(changed(directory + 42, 9).contains("incomplete"));
    assert!(changed(directory + 46, b'n').contains("no entry \"m/data/0\""));
    assert!(message(&archive(&[("m/x", b"")])).contains("no entry \"data.pkl\""));
    let two = [("a/data.pkl", tensor.as_slice()), ("b/data.pkl", &tensor)];
    assert!(message(&archive(&two)).contains("several pickles"));
    let big = [("m/data.pkl", tensor.as_slice()), ("m/byteorder", b"big")];
    assert!(message(&archive(&big)).contains("big-endian"));
    assert!(message(b"PK\x03\x04").contains("directory"));
    let with_comment = [&good[..good.len() - 2], &[2, 0], b"hi"].concat();
    parse(&with_comment).unwrap();
}

#[test]
fn an_archive_with_64_bit_sizes_is_read() {
    let tensor = pickle(&tensor("FloatStorage", "0", 6, 0, &[6], &[1]));
    let small = with_pickle(&tensor);
    let end = small.len() - END_LEN;
    const END_LEN: usize = 22;
    // The last entry of the directory moves its numbers to an extra field.
    let entry = small.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let numbers = [entry + 24, entry + 20, entry + 42];
    let mut extra = vec![1, 0, 24, 0];
    let mut file = small[..end].to_vec();
    for at in numbers {
        let number = u32::from_le_bytes(*small[at..].first_chunk().unwrap());
        extra.extend(u64::from(number).to_le_bytes());
        file[at..at + 4].fill(0xff);
    }
    file[entry + 30] = extra.len() as u8;
    file.extend(&extra);
    let start = u32::from_le_bytes(*small[end + 16..].first_chunk().unwrap());
    let end_64 = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend([0; 28]);
    file.extend(2u64.to_le_bytes());
    file.extend([0; 8]);
    file.extend(u64::from(start).to_le_bytes());
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(end_64.to_le_bytes());
    file.extend([0; 4]);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([0xff; 12]);
    file.extend([0; 2]);
    assert_eq!(parse(&file).unwrap().tensors()[0].dims, [6]);
}

#[test]
fn nothing_in_a_pickle_multiplies() {
    // A dictionary in itself.
    let cycle = [b"\x80\x02}q\x00".as_slice(), &text("t"), b"h\x00s."].concat();
    assert!(message(&with_pickle(&cycle)).contains("levels of dictionaries"));

    // Each dictionary holds the one before it many times: 100^7 paths.
    let mut bomb = b"\x80\x02}q\x00".to_vec();
    bomb.extend(text("t"));
    bomb.extend(tensor("FloatStorage", "0", 6, 0, &[6], &[1]));
    bomb.push(b's');
    for level in 0..7u8 {
        bomb.extend([b'}', b'q', level + 1]);
        for key in 0..100u8 {
            bomb.extend([b'K', key, b'h', level, b's']);
        }
    }
    bomb.push(b'.');
    assert!(message(&with_pickle(&bomb)).contains("more than"));

    // A long key that stands before many names.
    let mut names = b"\x80\x02}".to_vec();
    names.extend(text(&"x".repeat(1 << 20)));
    names.push(b'}');
    for key in 0..100u8 {
        names.extend([b'K', key]);
        names.extend(tensor("FloatStorage", "0", 6, 0, &[6], &[1]));
        names.push(b's');
    }
    names.extend(b"s.");
    assert!(message(&with_pickle(&names)).contains("bytes of names"));

    // A list of pairs that is copied again and again.
    let mut copies = b"\x80\x02ccollections\nOrderedDict\nq\x00](".to_vec();
    copies.extend(b"K\x01K\x01\x86q\x01");
    copies.extend(b"h\x01".repeat(1 << 17));
    copies.extend(b"eq\x02");
    copies.extend(b"h\x00h\x02\x85R".repeat(20));
    copies.push(b'.');
    assert!(message(&with_pickle(&copies)).contains("copied pairs"));

    for endless in [b"N".as_slice(), b"(", b"Nq\x000h\x00"] {
        let pickle = endless.repeat(3 << 20);
        assert!(message(&with_pickle(&pickle)).contains("more than 1048576"));
    }
}
