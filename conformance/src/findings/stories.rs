//! What a finding means in plain words, and what is known of it upstream: written by people, and put into
//! the generated pages.

use serde::Deserialize;

/// The stories that come with the program.
const LIST: &str = include_str!("../../corpus/stories.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    story: Vec<Story>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    study: String,
    /// The heading: the property, or what a walk shows.
    finding: String,
    /// What happens to whom.
    words: String,
    /// What was found of it upstream, with where.
    upstream: Option<String>,
}

/// Those of one study.
#[derive(Debug)]
pub struct Stories(Vec<Story>);

/// The stories of a study's findings.
///
/// # Errors
/// A list that is none.
pub fn of(study: &str) -> Result<Stories, toml::de::Error> {
    let mut list: List = toml::from_str(LIST)?;
    list.story.retain(|story| story.study == study);
    Ok(Stories(list.story))
}

impl Stories {
    /// The paragraphs about one finding; nothing where nobody has told it.
    pub fn about(&self, finding: &str) -> String {
        let told = self.0.iter().filter(|story| story.finding == finding);
        told.map(|Story { words, upstream, .. }| {
            let upstream =
                upstream.as_ref().map_or_else(String::new, |it| format!("\nUpstream: {it}\n"));
            format!("\n{words}\n{upstream}")
        })
        .collect()
    }

    /// The findings that have a story: each must be one of the page's headings.
    pub fn findings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|story| story.finding.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_stands_below_its_finding_and_nowhere_else() {
        let all = of("chardev").unwrap();
        let told = all.about("QEMU survives what is asked of it");
        assert!(told.contains("\nUpstream: no report was found."), "{told}");
        assert_eq!(all.about("nobody has told this"), "");
    }
}
