//! The file: TOML, each value with the line it stands on.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Given, Raw,
    problem::{Problem, Source},
    setting::{SETTINGS, Setting},
};

/// How alike two keys are for one to be taken for a slip of the other.
const ALIKE: f64 = 0.8;

/// Reads a file; where nobody named it, it may be missing.
pub(super) fn read(path: &Path, named_by: Option<Source>, raw: &mut Raw) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named_by.is_none() => return,
        Err(error) => {
            let what = format!("{} cannot be read ({error}); name a file that is there", path.display());
            let problem = named_by.map_or_else(|| Problem::missing(&what), |source| Problem::new(&source, &what));
            raw.problems.push(problem);
            return;
        }
    };
    raw.file = Some(path.to_owned());
    match DeTable::parse(&text) {
        Ok(document) => File { path, text: &text, raw }.table(None, document.get_ref()),
        Err(error) => {
            let line = error.span().map_or(1, |span| line(&text, span.start));
            let source = format!("{} line {line}", path.display());
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            raw.problems.push(Problem::new(&source, format_args!("{what}; write it as TOML")));
        }
    }
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// A file that is read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    raw: &'a mut Raw,
}

impl File<'_> {
    fn table(&mut self, table: Option<&str>, entries: &DeTable<'_>) {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let full = table.map_or_else(|| key.get_ref().to_string(), |table| format!("{table}.{}", key.get_ref()));
            let line = line(self.text, key.span().start);
            let source = Source::File { path: self.path.to_owned(), line, key: full.clone() };
            let own = |setting: &&Setting| setting.key().0 == table && setting.key().1 == **key.get_ref();
            match (SETTINGS.iter().find(own), value.get_ref()) {
                (Some(setting), _) => match values(setting, value) {
                    Ok(values) => self.raw.given.push(Given { setting, values, source }),
                    Err(what) => self.raw.problems.push(Problem::new(&source, what)),
                },
                (None, DeValue::Table(inner)) if table.is_none() && key.get_ref() == "limits" => {
                    self.table(Some("limits"), inner);
                }
                (None, _) => self.raw.problems.push(Problem::new(&source, unknown(table, key.get_ref()))),
            }
        }
    }
}

/// What to do about a key that nobody knows.
fn unknown(table: Option<&str>, key: &str) -> String {
    let known = SETTINGS.iter().map(Setting::key).filter(|(its_table, _)| table.is_none() || *its_table == table);
    let mut near: Vec<_> = known.map(|known| (strsim::jaro_winkler(&known.1, key), known)).collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    match near.first() {
        Some((likeness, (table, key))) if *likeness > ALIKE => {
            let table = table.map_or_else(String::new, |table| format!("{table}."));
            format!("there is no such key; did you mean {table}{key}?")
        }
        _ => "there is no such key; `onward config show` lists all, or take it out".to_owned(),
    }
}

/// The values of a key as text.
fn values(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, &'static str> {
    match value.get_ref() {
        DeValue::Array(items) if setting.is_list() => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or("write a list of texts, such as [\"…\"]"))
            .collect(),
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| vec![number.to_string()])
            .map_err(|_| "the number is too large"),
        DeValue::Boolean(on) => Ok(vec![on.to_string()]),
        _ if setting.is_list() => Err("write a text, or a list of texts such as [\"…\"]"),
        _ => Err("write a text or a whole number"),
    }
}
