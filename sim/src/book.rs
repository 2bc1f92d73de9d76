//! What has really happened, seen from outside by one who sees all: which sums were made of what, which records were
//! committed, and for each peer an account of all it has ever trained (S4, S5).

use crate::check::{
    s1_counted_once, s2_same_bits, s2_same_end, s3_one_result, s6_leases, s8_verified,
};
use crate::keys;
use crate::store::{At, Store};
use shoal_protocol::event::{Part, Settle};
use shoal_protocol::id::Digest;
use shoal_protocol::ledger::Record;
use shoal_protocol::math::Workspace;
use shoal_protocol::wire::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// One contribution in one sum, decoded as the owner decoded it.
#[derive(Clone)]
pub struct Given {
    pub peer: usize,
    pub range: Range<usize>,
    pub values: Rc<Vec<f32>>,
}

/// One sum that an owner made.
#[derive(Clone)]
pub struct Sum {
    pub owner: usize,
    pub life: u32,
    pub given: Vec<Given>,
    pub range: Range<usize>,
    /// The mean of the contributions, less what the result's bytes say.
    pub rest: Rc<Vec<f64>>,
}

/// A committed record and what went into it.
pub struct Entry {
    pub record: Record,
    /// For each chunk, the sums that led to the committed bytes: one, or several owners with the same bytes.
    pub sums: Vec<Vec<Sum>>,
}

/// Everything a peer ever trained, and where it went. All vectors have the model's length.
#[derive(Clone)]
pub struct Account {
    /// The last record that this account has taken in.
    pub head: Digest,
    /// All records that it ever took in, those of branches that were given up included.
    credited: BTreeSet<Digest>,
    pub trained: Vec<f64>,
    /// What committed sums hold of it.
    pub counted: Vec<f64>,
    /// Downward residual that was folded into contributions.
    pub folded: Vec<f64>,
    /// What died with the peer, or with a branch that was given up.
    pub lost: Vec<f64>,
    /// What this peer's results did not carry.
    pub owed: Vec<f64>,
    /// What of it has come back through contributions, or died.
    pub returned: Vec<f64>,
}

/// How a peer's committed record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// To one that follows from it.
    Along,
    /// To one that it follows from.
    Back,
    /// To another branch, or one that had been given up.
    Aside,
}

/// The outside view.
#[derive(Default)]
pub struct Book {
    pub plans: BTreeMap<Digest, Plan>,
    pub records: BTreeMap<Digest, Entry>,
    pub accounts: Vec<Account>,
    sums: BTreeMap<(Digest, u32, Digest, u64), Vec<Sum>>,
    pub same_bits: s2_same_bits::Seen,
    pub one_result: s3_one_result::Seen,
}

impl Account {
    fn new(n: usize, head: Digest) -> Account {
        let zeros = || vec![0.0; n];
        Account {
            head,
            credited: BTreeSet::new(),
            trained: zeros(),
            counted: zeros(),
            folded: zeros(),
            lost: zeros(),
            owed: zeros(),
            returned: zeros(),
        }
    }

    /// What is not in the residuals now is lost from here on: the peer has died, or its branch was given up.
    pub fn write_off(&mut self, store: &Store) {
        for (i, held) in store.held().into_iter().enumerate() {
            self.lost[i] = self.trained[i] + self.folded[i] - self.counted[i] - held;
        }
        self.write_off_down(&store.work);
    }

    /// What has faded from the residuals of the round that was settled.
    fn fades(&mut self, settle: &[Settle], store: &Store) {
        let gone = 1.0 / f64::from(store.spec.exchange.residual_decay) - 1.0;
        for (c, settle) in settle.iter().enumerate() {
            let (up, down) = match settle {
                Settle::Counted { .. } => (true, false),
                Settle::Owned { own } => (*own, true),
                Settle::Missed | Settle::Unknown | Settle::Restarted => continue,
            };
            let chunk = store.spec.chunk_at(store.record.round, c as u32) as usize;
            for i in store.work.range(chunk) {
                let faded = |kept: &[f32]| f64::from(kept[i]) * gone;
                self.lost[i] += if up { faded(store.work.residual_up()) } else { 0.0 };
                self.returned[i] += if down { faded(store.work.residual_down()) } else { 0.0 };
            }
        }
    }

    /// The same for what its results did not carry. Who takes over a whole state, because nobody keeps the results that led to
    /// it, cannot tell which of its own sums were committed.
    pub fn write_off_down(&mut self, work: &Workspace) {
        let down = work.residual_down();
        for (i, returned) in self.returned.iter_mut().enumerate() {
            *returned = self.owed[i] - f64::from(down[i]);
        }
    }
}

impl Book {
    pub fn new(genesis: &Record, peers: usize, n: usize) -> Book {
        let head = genesis.digest();
        let mut book = Book { accounts: vec![Account::new(n, head); peers], ..Book::default() };
        book.begins(genesis, 0..peers);
        book
    }

    /// These peers are in a run that begins with this record.
    pub fn begins(&mut self, genesis: &Record, peers: impl Iterator<Item = usize>) {
        let head = genesis.digest();
        self.records.insert(head, Entry { record: genesis.clone(), sums: Vec::new() });
        peers.for_each(|p| self.accounts[p].head = head);
    }

    /// Whether there are numbers to be accounted for.
    pub fn is_kept(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// A plan was seen under way.
    pub fn saw_plan(&mut self, plan: &Plan) {
        if !self.is_kept() {
            return;
        }
        self.plans.entry(plan.digest()).or_insert_with(|| plan.clone());
    }

    pub fn trained(&mut self, p: usize, delta: &[f32]) {
        add(&mut self.accounts[p].trained, delta.iter().map(|x| f64::from(*x)));
    }

    /// Peer `p` has added up a chunk from these parts.
    pub fn summed(&mut self, p: usize, life: u32, store: &Store, at: At, parts: &[Part]) {
        s1_counted_once::parts(parts, self.plans.get(&at.0));
        let own = &store.reduced[&at];
        let range = store.work.range(store.chunk(at.1));
        let given = parts.iter().filter_map(|part| given(store, at, part, &range)).collect();
        let mut decoded = vec![0.0; range.len()];
        let codec = store.down(store.record.round + 1, at.1);
        codec.decode(&own.reduced.bytes, &mut decoded).expect("an encoder's bytes");
        let down = &store.work.residual_down()[range.clone()];
        let rest = (0..range.len())
            .map(|i| f64::from(own.reduced.target[i]) - f64::from(down[i]) - f64::from(decoded[i]));
        let sum = Sum { owner: p, life, given, range, rest: Rc::new(rest.collect()) };
        let key = (at.0, at.1, Digest::of(&own.reduced.bytes), own.included);
        self.sums.entry(key).or_default().push(sum);
    }

    /// A peer commits: the record is the one that others committed, or a new one that follows from its parent. `spoilt`: an
    /// owner may have sent something else than it made, and the only one that received it holds more than half of the weight.
    /// False if it is so: then nobody can tell what was counted.
    pub fn committed(&mut self, store: &Store, spoilt: bool) -> bool {
        let record = &store.record;
        self.same_bits.check(record, &store.numbers);
        self.one_result.check(record);
        let digest = record.digest();
        if !self.records.contains_key(&digest) {
            let parent = self.records.get(&record.parent).map(|entry| &entry.record);
            s6_leases::follows(parent, record);
            if let Some(parent) = parent {
                s2_same_end::follows(&store.spec, parent, self.plans.get(&record.plan), record);
            }
            let sums = self.sums_of(store, record, spoilt);
            self.records.insert(digest, Entry { record: record.clone(), sums });
        }
        self.records[&digest].sums.iter().all(|sums| !sums.is_empty())
    }

    fn sums_of(&self, store: &Store, record: &Record, spoilt: bool) -> Vec<Vec<Sum>> {
        let chunks =
            if record.contributions.is_empty() { 0 } else { store.spec.chunks_in(record.round) };
        let sums_of_chunk = |index| {
            let result = store.standing_result((record.plan, index));
            let key = result.map(|r| (record.plan, index, Digest::of(&r.bytes), r.included));
            let sums = key.and_then(|key| self.sums.get(&key));
            s8_verified::made_by_an_owner(sums.is_some() || spoilt, record, index);
            sums.cloned().unwrap_or_default()
        };
        (0..chunks).map(sums_of_chunk).collect()
    }

    /// A peer's committed record is another now: its account takes in what lies between, or begins anew on another branch.
    /// `settle`: what became of its contribution to the newest round.
    pub fn moved(&mut self, p: usize, life: u32, to: Digest, settle: &[Settle]) -> Moved {
        let head = self.accounts[p].head;
        let (path, follows) = self.path(head, to);
        let back = !follows && self.path(to, head).1;
        let mut account = self.accounts[p].clone();
        if !follows {
            account.counted.fill(0.0);
            account.owed.fill(0.0);
        }
        let again = path.iter().any(|digest| account.credited.contains(digest));
        account.head = to;
        for digest in path {
            let settle = if digest == to { settle } else { &[] };
            self.records[&digest].credit(p, life, settle, &mut account);
            account.credited.insert(digest);
        }
        self.accounts[p] = account;
        match (back, follows && !again) {
            (true, _) => Moved::Back,
            (_, true) => Moved::Along,
            _ => Moved::Aside,
        }
    }

    /// Whether the known record `to` is `from` or comes after it on one branch.
    pub fn leads(&self, from: Digest, to: Digest) -> bool {
        self.path(from, to).1
    }

    /// The records after `from` up to `to`, oldest first; all since the beginning if `to` does not follow from `from`.
    fn path(&self, from: Digest, to: Digest) -> (Vec<Digest>, bool) {
        let (mut path, mut at) = (Vec::new(), to);
        while at != from {
            path.push(at);
            match self.records.get(&at).map(|entry| entry.record.parent) {
                Some(parent) if parent != Digest::default() => at = parent,
                _ => break,
            }
        }
        path.reverse();
        (path, at == from)
    }

    /// What settling moves between the residuals: `down` as it was before, settled as the session said.
    pub fn settled(
        &mut self,
        p: usize,
        store: &Store,
        settle: &[Settle],
        plan: Digest,
        down: &[f32],
    ) {
        let account = &mut self.accounts[p];
        account.fades(settle, store);
        let Some(plan) = self.plans.get(&plan) else { return };
        for (c, settle) in settle.iter().enumerate() {
            let result = store.standing_result((plan.digest(), c as u32));
            let (Settle::Counted { fold, .. }, Some(result)) = (settle, result) else { continue };
            let share = f64::from(crate::store::share(plan, &store.me, result.included));
            let chunk = store.spec.chunk_at(plan.round, c as u32) as usize;
            for i in store.work.range(chunk) {
                account.folded[i] += f64::from(*fold) * f64::from(down[i]);
                account.returned[i] += share * f64::from(*fold) * f64::from(down[i]);
            }
        }
    }
}

impl Entry {
    /// Books what a peer gave to this record, and what its results did not carry.
    ///
    /// Where several owners made the same bytes, a peer that says that it owned the chunk has given its own numbers as they
    /// are, and one that does not has given what it sent.
    fn credit(&self, p: usize, life: u32, settle: &[Settle], account: &mut Account) {
        for (c, sums) in self.sums.iter().enumerate() {
            let mine = sums.iter().rfind(|sum| (sum.owner, sum.life) == (p, life));
            let other = sums.iter().find(|sum| sum.owner != p);
            let owned = matches!(settle.get(c), Some(Settle::Owned { .. }));
            let sum = if owned { mine.or(other) } else { other.or(mine).or(sums.first()) };
            let Some(sum) = sum else { continue };
            for given in sum.given.iter().filter(|given| given.peer == p) {
                let values = given.values.iter().map(|x| f64::from(*x));
                add(&mut account.counted[given.range.clone()], values);
            }
            if (sum.owner, sum.life) == (p, life) {
                add(&mut account.owed[sum.range.clone()], sum.rest.iter().copied());
            }
        }
    }
}

/// A part as the owner took it: its own numbers exactly, or coded where work begins ahead; others decoded.
fn given(store: &Store, at: At, part: &Part, range: &Range<usize>) -> Option<Given> {
    let mut values = vec![0.0; range.len()];
    if part.peer == store.me {
        let (delta, up) =
            (&store.work.delta()[range.clone()], &store.work.residual_up()[range.clone()]);
        values.iter_mut().zip(delta.iter().zip(up)).for_each(|(x, (a, b))| *x = a + b);
        if store.spec.exchange.ahead != 0.0 {
            let mut coded = Vec::new();
            store.up(at.1).encode(&values, &mut coded);
            store.up(at.1).decode(&coded, &mut values).expect("it has just been encoded");
        }
    } else {
        let came = store.contribution_of(at, part.peer).expect("it has just been added");
        store.up(at.1).decode(&came.bytes, &mut values).expect("it has just been decoded");
    }
    let peer = keys::number(&part.peer)?;
    Some(Given { peer, range: range.clone(), values: Rc::new(values) })
}

fn add(sum: &mut [f64], values: impl Iterator<Item = f64>) {
    sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
}
