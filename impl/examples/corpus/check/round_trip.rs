//! Every file, parsed and written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use statusquo_vmm::domain::tree::{Document, Limits};

use super::Section;

pub(super) fn section(directory: &Path, files: &[PathBuf]) -> io::Result<Section> {
    let mut section = Section::new("round trip");
    let (mut same, mut bytes, mut edited) = (0, 0, 0);
    for path in files {
        let file = path.strip_prefix(directory).unwrap_or(path).display().to_string();
        let read = fs::read(path)?;
        bytes += read.len();
        match Document::parse_bytes(&read, Limits::default()) {
            Err(error) => section.differ(&file, vec![error.to_string()]),
            Ok(document) => {
                let written = document.to_xml();
                if written.as_bytes() != read {
                    section.differ(&file, vec!["what is written is not what was read".to_owned()]);
                    continue;
                }
                same += 1;
                match after_edits(document) {
                    Ok(()) => edited += 1,
                    Err(what) => section.differ(&file, vec![what]),
                }
            }
        }
    }
    section.count("files", files.len());
    section.count("bytes", bytes);
    section.count("come out byte for byte", same);
    section.count("are a fixpoint after an edit, which lost nothing", edited);
    Ok(section)
}

/// An attribute and an element come and go: the rest is as it was, and a second format changes nothing.
fn after_edits(mut document: Document) -> Result<(), String> {
    let root = document.root();
    let before = document.to_xml();
    let say = |what: &str, error| format!("{what}: {error}");
    document.set_attribute(root, "statusquo", "'<&\"").map_err(|e| say("set", e))?;
    let node = document
        .append_xml(root, "<statusquo><!-- kept --></statusquo>")
        .map_err(|e| say("append", e))?;
    let written = document.to_xml();
    let again = Document::parse(&written).map_err(|e| say("parse again", e))?;
    if again.to_xml() != written {
        return Err("the second format differs from the first".to_owned());
    }
    document.remove(node);
    document.remove_attribute(root, "statusquo");
    let original = Document::parse(&before).map_err(|e| say("parse the original", e))?;
    match document.same(root, &original, original.root()) {
        true => Ok(()),
        false => Err("an edit that was taken back left something".to_owned()),
    }
}
