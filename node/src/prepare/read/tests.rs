//! Files of each kind, whole and broken, and what is read of them.

use super::*;
use std::io::Write;
use std::path::{Path, PathBuf};

fn how(document_bytes: usize) -> How {
    How { field: "text".into(), document_bytes }
}

/// Texts as they are, faults in angle brackets.
fn told(record: Record) -> String {
    match record {
        Record::Text(text) => text.trim_end().to_owned(),
        Record::Bad(bad) => format!("<{}>", bad.fault),
    }
}

fn read(inputs: &[&Path], how: How) -> Vec<String> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|path| path.to_path_buf()).collect();
    let files = Files::find(&inputs, how).unwrap();
    let all = |unit| files.open(unit, 0).unwrap().collect::<Vec<_>>();
    let records: Vec<Record> = (0..files.units()).flat_map(all).collect();
    // From any record on it is the same.
    for (unit, start) in [(0, 1), (0, 2), (files.units() - 1, 1)] {
        let rest: Vec<Record> = files.open(unit, start).unwrap().collect();
        assert_eq!(rest, all(unit).split_off(all(unit).len().min(start as usize)));
    }
    records.into_iter().map(told).collect()
}

fn gz(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

const LINES: &[u8] = b"{\"text\":\"one\",\"id\":{\"a\":[1]}}\n\n{\"id\":1}\n{\"text\":5}\nnot json\n{\"text\":\"tw\\u00f6\"}\n\xff{\"text\":\"x\"}\n{\"text\":null}\n{\"text\":\"a\"} tail\n{\"text\":\"last\"}";
const LINES_TOLD: [&str; 9] = [
    "one",
    "<field missing>",
    "<broken JSON>",
    "<broken JSON>",
    "twö",
    "<not UTF-8>",
    "<field missing>",
    "<broken JSON>",
    "last",
];

#[test]
fn json_lines_are_read_and_faults_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let two_members = [gz(&LINES[..70]), gz(&LINES[70..])].concat();
    let files: [(&str, Vec<u8>); 3] = [
        ("a.jsonl", LINES.to_vec()),
        ("b.jsonl.gz", two_members),
        ("c.ndjson.zst", zstd::encode_all(LINES, 1).unwrap()),
    ];
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&[&path], how(0)), LINES_TOLD, "{name}");
    }
}

#[test]
fn a_corrupt_gz_gives_what_comes_before_and_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let text: String =
        (0..20_000u64).map(|n| format!("{{\"text\":\"number {}\"}}\n", n * n * 7919)).collect();
    let whole = gz(text.as_bytes());
    let path = dir.path().join("x.jsonl.gz");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let after = dir.path().join("y.txt");
    std::fs::write(&after, "whole").unwrap();
    let got = read(&[&path, &after], how(0));
    let broken = got.iter().position(|told| told == "<file broken off>").unwrap();
    assert!(broken > 1000 && got[..broken].iter().all(|told| told.starts_with("number ")));
    assert_eq!(&got[broken + 1..], ["whole"], "the next file is read");
    std::fs::write(&path, b"this is no gzip").unwrap();
    assert_eq!(read(&[&path], how(0)), ["<file broken off>"]);
}

#[test]
fn text_is_cut_at_empty_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("book.txt");
    let text = b"one\ntwo\r\n\r\n\n\nthree\n\n\xe4\xf6\n\nfour";
    std::fs::write(&path, text).unwrap();
    assert_eq!(read(&[&path], how(0)), ["one\ntwo", "three", "<not UTF-8>", "four"]);
    assert_eq!(read(&[&path], how(8)), ["one\ntwo", "<not UTF-8>", "four"]);
    std::fs::write(&path, "a line\n".repeat(30_000)).unwrap();
    let got = read(&[&path], how(1000));
    assert!(got.len() == 4 && got.iter().all(|text| text.len() <= (1 << 16) + 8), "{}", got.len());
    std::fs::write(&path, "\n\n \n\n").unwrap();
    assert!(read(&[&path], how(0)).is_empty());
}

#[test]
fn folders_are_read_in_name_order_and_other_kinds_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["b.txt", "a/z.md", "a/picture.png", ".hidden.txt", "c.TXT"];
    for name in names {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    let files = Files::find(&[dir.path().to_owned()], how(0)).unwrap();
    assert_eq!((files.units(), files.passed_over), (3, 1));
    assert_eq!(read(&[dir.path()], how(0)), ["a/z.md", "b.txt", "c.TXT"]);
    let named = dir.path().join("a/picture.png");
    assert_eq!(read(&[&named], how(0)), ["a/picture.png"], "named, so it is read");
    let told = |path: &Path| Files::find(&[path.to_owned()], how(0)).err().unwrap().to_string();
    assert!(told(&dir.path().join("gone")).contains("gone"));
    std::fs::remove_file(dir.path().join("a/z.md")).unwrap();
    assert!(told(&dir.path().join("a")).contains(".parquet"));
}

#[test]
fn parquet_gives_a_column() {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use ::parquet::schema::parser::parse_message_type;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let schema = parse_message_type(
        "message m { required int64 id; optional binary text (UTF8); required group g { required binary a; } }",
    );
    let properties =
        WriterProperties::builder().set_compression(::parquet::basic::Compression::SNAPPY);
    let file = std::fs::File::create(&path).unwrap();
    let (schema, properties) = (schema.unwrap().into(), properties.build().into());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for group in 0..2 {
        let mut rows = writer.next_row_group().unwrap();
        let mut place = 0;
        while let Some(mut column) = rows.next_column().unwrap() {
            let texts: Vec<ByteArray> = match place {
                1 => (0..150).map(|n| ByteArray::from(&*format!("text {group} {n}"))).collect(),
                _ => (0..200).map(|_| ByteArray::from("other")).collect(),
            };
            // Every fourth is null.
            let levels: Vec<i16> = (0..200).map(|n| i16::from(n % 4 != 3)).collect();
            match place {
                0 => {
                    let ids: Vec<i64> = (0..200).collect();
                    column
                        .typed::<::parquet::data_type::Int64Type>()
                        .write_batch(&ids, None, None)
                        .map(|_| ())
                        .unwrap();
                }
                1 => column
                    .typed::<ByteArrayType>()
                    .write_batch(&texts, Some(&levels), None)
                    .map(|_| ())
                    .unwrap(),
                _ => column
                    .typed::<ByteArrayType>()
                    .write_batch(&texts, None, None)
                    .map(|_| ())
                    .unwrap(),
            }
            column.close().unwrap();
            place += 1;
        }
        rows.close().unwrap();
    }
    writer.close().unwrap();
    let got = read(&[&path], how(0));
    assert_eq!(got.len(), 400);
    for group in 0..2 {
        let mut number = 0;
        for (row, told) in got[group * 200..][..200].iter().enumerate() {
            if row % 4 == 3 {
                assert_eq!(told, "<field missing>");
            } else {
                assert_eq!(*told, format!("text {group} {number}"));
                number += 1;
            }
        }
    }
    let nested = How { field: "g.a".into(), document_bytes: 0 };
    assert_eq!(read(&[&path], nested), vec!["other"; 400]);
    for field in ["nope", "id"] {
        let how = How { field: field.into(), document_bytes: 0 };
        assert_eq!(read(&[&path], how), ["<file unreadable>"], "{field}");
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[100..middle].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let got = read(&[&path], how(0));
    assert!(got.contains(&"<file broken off>".to_owned()), "{got:?}");
    std::fs::write(&path, b"PAR1 is not all there is to it PAR1").unwrap();
    assert_eq!(read(&[&path], how(0)), ["<file unreadable>"]);
}
