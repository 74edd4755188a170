//! Files of texts.

use super::*;

fn read(name: &str, content: &str, column: Option<&str>) -> Result<Vec<String>, Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    std::fs::write(&path, content)?;
    let file = FileArguments { file: Some(path), column: column.map(str::to_owned) };
    let mut texts = Texts::new(&[], &file)?;
    assert_eq!(texts.total(), Some(content.len() as u64));
    assert_eq!(texts.is_empty(3)?, texts.is_empty(1)?);
    let mut all = Vec::new();
    loop {
        let (batch, done) = texts.next(2)?;
        if batch.is_empty() {
            return Ok(all);
        }
        assert!(done <= content.len() as u64);
        all.extend(batch);
    }
}

#[track_caller]
fn fails(name: &str, content: &str, column: Option<&str>) -> String {
    read(name, content, column).unwrap_err().to_string()
}

#[test]
fn lines_are_texts() {
    assert_eq!(read("a.txt", "one\r\n\n three ", None).unwrap(), ["one", "", " three "]);
    assert_eq!(read("a", "\u{feff}{\"a\"", None).unwrap(), ["{\"a\""]);
    assert!(read("a.txt", "", None).unwrap().is_empty());
}

#[test]
fn json_lines_are_texts_or_objects() {
    let lines = "{\"text\": \"a\\nb\", \"n\": 1}\n\n\"plain\"\n";
    assert_eq!(read("a.jsonl", lines, None).unwrap(), ["a\nb", "plain"]);
    assert_eq!(read("a", "{\"t\": \"x\"}", Some("t")).unwrap(), ["x"]);
    assert!(
        fails("a.jsonl", "\"a\"\n{\"b\": \"x\"}", None).contains("line 2: there is no \"text\"")
    );
    assert_eq!(read("a.jsonl", "{\"text\": 1}\n{\"text\": true}", None).unwrap(), ["1", "true"]);
    assert!(fails("a.jsonl", "{\"text\": []}", None).contains("\"text\" is no text"));
    assert!(fails("a.jsonl", "{", None).contains("line 1"));
}

#[test]
fn csv_has_names() {
    let table = "id,text\n1,\"a, \"\"b\"\"\nc\"\n2,d\n";
    assert_eq!(read("a.csv", table, None).unwrap(), ["a, \"b\"\nc", "d"]);
    assert_eq!(read("a.tsv", "x\ttext\n1\tb c\n", None).unwrap(), ["b c"]);
    assert_eq!(read("a.data", table, Some("id")).unwrap(), ["1", "2"]);
    assert!(
        fails("a.csv", "a,b\n1,2\n", None).contains("there is no \"text\" among the columns a, b")
    );
    assert!(fails("a.csv", "text,b\n1\n", None).contains("a.csv"));
}
