//! From layers to a [`Config`], telling every error of form and not only the first.
//!
//! Each round extracts, tells the error that serde stopped at, takes the value out (or puts one in that fits) and
//! tries again. A value that was put in never causes a problem of its own.

use figment::error::Kind;
use figment::value::{Dict, Value};

use super::Config;
use super::check::Finding;
use super::layers::Layers;
use super::problem::{Problem, describe};

/// Far above what a person could get wrong in one file; keeps a surprise in serde from becoming an endless loop.
const ROUNDS: usize = 2000;

pub(super) struct Extracted {
    /// `None` when what is wrong could not be mended far enough to go on.
    pub(super) config: Option<Config>,
    pub(super) problems: Vec<Problem>,
    pub(super) told: Told,
    pub(super) layers: Layers,
}

/// Keys whose value is not the one that was written, and that need no second problem.
#[derive(Default)]
pub(super) struct Told(Vec<StandIn>);

struct StandIn {
    path: Vec<String>,
    /// How many stand-ins were tried; 0 when the value was only taken out.
    tried: usize,
}

impl Told {
    fn covers(&self, path: &[String]) -> bool {
        self.0.iter().any(|told| path.starts_with(&told.path))
    }

    fn stand_in(&mut self, path: &[String]) -> &mut StandIn {
        let at = self.0.iter().position(|told| told.path == path).unwrap_or_else(|| {
            self.0.push(StandIn { path: path.to_vec(), tried: 0 });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Problems out of findings about the values, except about values that nobody wrote.
    pub(super) fn judge(&self, findings: Vec<Finding>, layers: &Layers) -> Vec<Problem> {
        let split = |key: &str| key.split('.').map(str::to_owned).collect::<Vec<_>>();
        let own = findings.into_iter().filter(|finding| {
            !self.covers(&split(&finding.key)) && !finding.depends_on.is_some_and(|key| self.covers(&split(key)))
        });
        own.map(|finding| Problem {
            place: layers.place(&split(&finding.key)).clone(),
            key: finding.key,
            text: finding.text,
        })
        .collect()
    }
}

pub(super) fn extract(layers: Layers) -> Extracted {
    let mut work = Extracted { config: None, problems: Vec::new(), told: Told::default(), layers };
    for _ in 0..ROUNDS {
        match work.layers.merged().deserialize::<Config>() {
            Ok(config) => {
                work.config = Some(config);
                break;
            }
            Err(error) if work.mend(error.path.clone(), &error.kind) => {}
            Err(_) => break,
        }
    }
    work
}

impl Extracted {
    /// Tells an error and makes the next round get past it; false when there is no way.
    fn mend(&mut self, mut path: Vec<String>, kind: &Kind) -> bool {
        match kind {
            Kind::UnknownField(..) => {
                self.tell(&path, kind);
                self.layers.remove(&path);
                true
            }
            Kind::MissingField(name) => {
                path.push(name.to_string());
                self.tell(&path, kind);
                self.put_stand_in(&path)
            }
            _ if self.told.0.iter().any(|told| told.path == path && told.tried > 0) => self.put_stand_in(&path),
            _ if self.layers.retry_as_text(&path) => true,
            _ => {
                self.tell(&path, kind);
                // Taking an entry out of a list would renumber those after it.
                if self.layers.in_list(&path) {
                    return self.put_stand_in(&path);
                }
                self.layers.remove(&path);
                !path.is_empty()
            }
        }
    }

    fn tell(&mut self, path: &[String], kind: &Kind) {
        // What is wrong below a value of the wrong kind is the same mistake seen twice.
        if self.told.covers(path) || self.told.0.iter().any(|told| told.path.starts_with(path)) {
            return;
        }
        let place = self.layers.place(path).clone();
        self.problems.push(Problem { place, key: path.join("."), text: describe(path, kind) });
        self.told.stand_in(path);
    }

    /// The type that is needed is not known here, so each kind of value gets its turn.
    fn put_stand_in(&mut self, path: &[String]) -> bool {
        let candidates: [Value; 5] =
            ["".into(), Vec::<Value>::new().into(), Dict::new().into(), 0_u8.into(), false.into()];
        let told = self.told.stand_in(path);
        let Some(candidate) = candidates.into_iter().nth(told.tried) else { return false };
        told.tried += 1;
        self.layers.put(path, candidate);
        true
    }
}
