//! Sessions forked, saved and loaded.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{Error, KvType, Model, Session, SessionFileError, SessionOptions, argmax};
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;

fn open(family: &str) -> (Model, tempfile::TempDir) {
    let folder = tiny::checkpoint(family);
    let path = folder.path().join("model.kinglet");
    quantize(&Source::open(folder.path()).unwrap(), &Options::default(), &path, &mut ()).unwrap();
    (Model::open(&path).unwrap(), folder)
}

fn fed(model: &Model, kv: KvType, n: u32) -> Session {
    let mut session = model.session_with(&SessionOptions::default().kv(kv)).unwrap();
    let tokens: Vec<u32> = (0..n).map(|i| (i * i + 3 * i) % model.vocab_size() as u32).collect();
    session.feed(&tokens).unwrap();
    session
}

fn greedy(session: &mut Session, n: usize) -> Vec<u32> {
    let mut step = || {
        let id = argmax(session.logits());
        session.feed(&[id]).unwrap();
        id
    };
    (0..n).map(|_| step()).collect()
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_fork_goes_its_own_way() {
    for (family, n) in [("llama3-rope-scaling", 200), ("gemma3", 40)] {
        let (model, _folder) = open(family);
        for kv in [KvType::F16, KvType::Int8] {
            let mut session = fed(&model, kv, n);
            let mut fork = session.fork().unwrap();
            assert_eq!(fork.kv_type(), kv);
            fork.feed(&[5]).unwrap();
            let other = greedy(&mut fork, 8);
            let mut again = session.fork().unwrap();
            let expected = greedy(&mut session, 8);
            assert_eq!(greedy(&mut again, 8), expected, "{family} {kv}");
            assert_eq!(fork.position(), n as usize + 9);
            again.truncate(n as usize);
            again.feed(&[5]).unwrap();
            assert_eq!(greedy(&mut again, 8), other, "{family} {kv}");
        }
    }
}

#[test]
fn a_saved_session_goes_on_where_it_was() {
    for (family, n) in [("llama3-rope-scaling", 200), ("gemma3", 40), ("qwen2", 1)] {
        let (model, _folder) = open(family);
        for kv in [KvType::F16, KvType::Int8] {
            let mut session = fed(&model, kv, n);
            let mut loaded = Session::load(&model, &mut &saved(&session)[..]).unwrap();
            assert_eq!(loaded.tokens(), session.tokens());
            assert_eq!(loaded.kv_type(), kv);
            for session in [&mut session, &mut loaded] {
                session.feed(&[7]).unwrap();
            }
            assert_eq!(greedy(&mut loaded, 8), greedy(&mut session, 8), "{family} {kv}");
        }
    }
    let (model, _folder) = open("llama");
    let empty = Session::load(&model, &mut &saved(&model.session().unwrap())[..]).unwrap();
    assert_eq!(empty.position(), 0);
}

#[test]
fn what_was_truncated_is_not_saved() {
    let (model, _folder) = open("llama");
    for kv in [KvType::F16, KvType::Int8] {
        let mut session = fed(&model, kv, 20);
        let short = saved(&session);
        session.feed(&[9; 20]).unwrap();
        let long = saved(&session);
        session.truncate(20);
        session.feed(&[]).unwrap();
        let again = saved(&session);
        assert_ne!(long, short);
        // The last token was computed again, alone: its keys and values may differ in a bit.
        let same = short.iter().zip(&again).filter(|(a, b)| a == b).count();
        assert_eq!(short.len(), again.len());
        assert!(same as f64 > 0.97 * short.len() as f64, "{kv}: {same} of {}", short.len());
    }
}

#[test]
fn unsound_files_are_errors_of_their_own() {
    let (model, _folder) = open("llama");
    let (other, _other_folder) = open("qwen3");
    let good = saved(&fed(&model, KvType::Int8, 30));
    let load = |bytes: &[u8]| Session::load(&model, &mut &bytes[..]).unwrap_err();
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        load(&bytes)
    };
    use SessionFileError::{Damaged, Foreign, KvType as Kind, OtherModel, Version};
    assert!(matches!(load(b"GGUF, or something else"), Error::SessionFile(Foreign)));
    assert!(matches!(changed(8, 9), Error::SessionFile(Version { found: 9 })));
    assert!(matches!(changed(12, 7), Error::SessionFile(Kind { found: 7 })));
    assert!(matches!(changed(20, good[20] ^ 1), Error::SessionFile(OtherModel)));
    // The number of tokens, that of computed ones, a token id, a key, the hash.
    assert!(matches!(changed(55, 1), Error::ContextFull { .. }));
    assert!(matches!(changed(63, 1), Error::SessionFile(Damaged { .. })));
    assert!(matches!(changed(67, 1), Error::SessionFile(Damaged { .. })));
    assert!(matches!(
        changed(64 + 4 * 30 + 5, good[64 + 4 * 30 + 5] ^ 1),
        Error::SessionFile(Damaged { .. })
    ));
    assert!(matches!(
        changed(good.len() - 1, good[good.len() - 1] ^ 1),
        Error::SessionFile(Damaged { .. })
    ));
    for n in [0, 7, 40, 100, good.len() - 1] {
        let error = load(&good[..n]);
        assert!(matches!(error, Error::SessionFile(Damaged { .. })), "{n} bytes: {error}");
    }
    let error = Session::load(&other, &mut &good[..]).unwrap_err();
    assert!(matches!(error, Error::SessionFile(OtherModel)));
}
