//! A dataset that may not be here yet: it is opened when it is needed first.

use super::dataset::Dataset;
use super::error::DataError;
use std::sync::{Arc, Mutex, PoisonError};

/// What opens a dataset.
type Open = Box<dyn Fn() -> Result<Dataset, DataError> + Send>;

/// A dataset, or what it takes to open it.
pub struct Late(Mutex<State>);

enum State {
    Open(Arc<Dataset>),
    Closed(Open),
}

impl Late {
    /// Opened with the first need.
    pub fn new(open: Open) -> Late {
        Late(Mutex::new(State::Closed(open)))
    }

    /// The dataset. Others wait while one opens it.
    ///
    /// # Errors
    /// It cannot be opened, or not yet.
    pub fn get(&self) -> Result<Arc<Dataset>, DataError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match &*state {
            State::Open(dataset) => return Ok(dataset.clone()),
            State::Closed(open) => Arc::new(open()?),
        };
        *state = State::Open(opened.clone());
        Ok(opened)
    }
}

impl From<Dataset> for Late {
    fn from(dataset: Dataset) -> Late {
        Late(Mutex::new(State::Open(Arc::new(dataset))))
    }
}
