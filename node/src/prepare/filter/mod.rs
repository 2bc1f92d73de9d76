//! Which documents are worth learning from: the rules of Gopher (Rae et al. 2021, section A.1.1 and table A1) and C4 (Raffel
//! et al. 2020, section 2.2), and the language. Each has a name, can be switched, and says why it drops a document.

mod c4;
mod language;
mod quality;
mod repetition;
mod rule;
mod words;

pub use language::Language;
pub use rule::{Rule, Rules, Threshold};
pub use words::Words;

/// Why a document is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// By which rule.
    pub rule: Rule,
    /// What was measured, and what was wanted.
    pub why: String,
}

/// What the rules for lines leave of a document, and how many lines each took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The lines that stay.
    pub text: String,
    /// Lines taken, by rule.
    pub lines: Vec<(Rule, u64)>,
}

impl Rules {
    /// Takes out the lines that a rule is against. `None`: there is none such.
    pub fn edit(&self, text: &str) -> Option<Edited> {
        c4::edit(self, text)
    }

    /// The first rule that is against the document; `text` is normalised and edited.
    ///
    /// # Errors
    /// The rule, and why.
    pub fn judge(&self, text: &str) -> Result<(), Dropped> {
        let words = Words::of(text);
        c4::judge(self, text)?;
        quality::judge(self, text, &words)?;
        language::judge(self, text)?;
        repetition::judge(self, text, &words)
    }

    /// Drops if `rule` is switched on and `against` holds.
    fn drop_if(
        &self,
        rule: Rule,
        against: bool,
        why: impl FnOnce() -> String,
    ) -> Result<(), Dropped> {
        match against && self.is_on(rule) {
            true => Err(Dropped { rule, why: why() }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
