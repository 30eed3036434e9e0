//! The judge by policies: rules over runs that their scenarios have judged already. It sees plans,
//! logs and counters, never the machine.

mod rules;
mod waivers;

use crate::counters::Counters;
use crate::log::RunLog;
use crate::proof::{self, Acting};
use crate::scenario::expect::Asked;
use crate::scenario::plan::Plan;
use crate::scenario::policy::{Level, Policy, Rule};
use crate::verdict::{self, Answer, Bench, Judged, Verdict};
use jiff::civil::Date;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a rule says about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruling {
    /// The policy's name.
    pub policy: String,
    /// The rule's id.
    pub rule: String,
    /// What the rule demands.
    pub title: String,
    /// What follows if it does not hold.
    pub level: Level,
    /// Whether it holds: `pass`, `fail`, or `expected_failure` if it is waived.
    pub verdict: Verdict,
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// The waiver that is about this rule and this run, if there is one and the rule fails.
    pub waiver: Option<Excuse>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whether it looks at other runs too.
    #[serde(skip)]
    pub compares: bool,
}

/// A waiver as a result shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excuse {
    /// The runs that it is about.
    pub runs: String,
    /// Its last day, YYYY-MM-DD.
    pub until: String,
    /// Whether that day is past: then it excuses nothing.
    pub expired: bool,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
}

impl Ruling {
    /// Whether the run fails by it.
    pub fn denies(&self) -> bool {
        self.level == Level::Deny && self.verdict == Verdict::Fail
    }

    /// What it says, in one sentence.
    pub fn sentence(&self) -> String {
        let Self { policy, rule, title, expected, found, waiver, level, .. } = self;
        let note = match (waiver, level) {
            (Some(waiver), _) if waiver.expired => {
                format!(" [the waiver of {} ended on {}]", waiver.owner, waiver.until)
            }
            (Some(waiver), _) => format!(" [waived until {}: {}]", waiver.until, waiver.reason),
            (None, Level::Warn) => " [only a warning]".to_owned(),
            (None, Level::Deny) => String::new(),
        };
        format!("{policy} {rule}: {title}: expected {expected}; found {found}{note}")
    }
}

/// A run's verdict when its scenario and the rules have spoken: a denied rule fails it, a waived
/// one is an expected failure. A scenario that says nothing stays without a verdict unless a rule
/// fails.
pub fn overall(own: &Judged, rulings: &[Ruling]) -> Verdict {
    let strict = rulings.iter().filter(|ruling| ruling.level == Level::Deny);
    let all = strict.map(|ruling| ruling.verdict).chain([own.verdict]);
    let sum = verdict::sum(all);
    if own.unjudged && sum != Verdict::Fail { Verdict::None } else { sum }
}

/// Whether a rule looks at several runs.
const fn compares(asked: &Asked) -> bool {
    match asked {
        Asked::NoMoreThan { .. } | Asked::WhoMustAct { .. } => true,
        Asked::Claim { .. } | Asked::Rate { .. } => false,
    }
}

/// One rule of one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    policy: usize,
    rule: usize,
}

/// What is kept of a run until judgement.
#[derive(Debug)]
struct Heard {
    id: String,
    cell: (String, Vec<(String, String)>),
    design: Option<String>,
    counters: Counters,
    /// By rule; `None`: it needs to know about other runs.
    answers: BTreeMap<Place, Option<Answer>>,
}

/// Policies sitting over the runs of one selection.
#[derive(Debug)]
pub struct Court<'p> {
    policies: &'p [Policy],
    today: Date,
    heard: BTreeMap<usize, Heard>,
    /// Whether runs of the scenarios were left out (`--design`, `--id`).
    partial: bool,
}

impl<'p> Court<'p> {
    /// Begins; `today` judges waivers and nothing else.
    pub fn new(policies: &'p [Policy], today: Date) -> Self {
        Self { policies, today, heard: BTreeMap::new(), partial: false }
    }

    /// The same where runs of the scenarios may have been left out: a rule that compares with a run
    /// which is not there then says nothing, and is told, instead of being red.
    pub fn partial(self, partial: bool) -> Self {
        Self { partial, ..self }
    }

    /// Whether rulings are final only after [`Court::close`]: a rule looks at more than one run.
    pub fn waits(&self) -> bool {
        self.rules().any(|(_, rule)| compares(&rule.check))
    }

    /// Whether a rule asks who must act, which takes a proof.
    pub fn asks_who_must_act(&self) -> bool {
        self.rules().any(|(_, rule)| matches!(rule.check, Asked::WhoMustAct { .. }))
    }

    fn rules(&self) -> impl Iterator<Item = (Place, &'p Rule)> {
        self.policies.iter().enumerate().flat_map(|(policy, one)| {
            let rules = one.rules.iter().enumerate();
            rules.map(move |(number, rule)| (Place { policy, rule: number }, rule))
        })
    }

    /// The heads of the rules in the order of rulings: policy, rule.
    pub fn heads(&self) -> Vec<(&'p Policy, &'p Rule)> {
        self.rules().map(|(place, rule)| (&self.policies[place.policy], rule)).collect()
    }

    /// Hears the run `number` of the selection while its log is there.
    pub fn hear(&mut self, number: usize, plan: &Plan, log: &RunLog, judged: &Judged) {
        if self.policies.is_empty() {
            return;
        }
        let Judged { counters, findings, .. } = judged;
        let bench = Bench { plan, log, counters, findings };
        let mut answers = BTreeMap::new();
        for (place, rule) in self.rules() {
            let covers_kind = self.policies[place.policy].what_if || !plan.what_if();
            if covers_kind && rule.runs.takes(&plan.id) {
                match rules::ask(&bench, &rule.check) {
                    rules::Asking::NotAbout => (),
                    rules::Asking::Later => drop(answers.insert(place, None)),
                    rules::Asking::Answered(answer) => {
                        answers.insert(place, Some(answer));
                    }
                }
            }
        }
        let (cell, design) = (proof::cell(plan), plan.design.clone());
        let (id, counters) = (plan.id.clone(), judged.counters.clone());
        self.heard.insert(number, Heard { id, cell, design, counters, answers });
    }

    /// Answers what had to wait for all runs.
    pub fn close(&mut self, acting: &BTreeMap<String, Acting>) {
        let mut late = Vec::new();
        for (number, run) in &self.heard {
            for (place, _) in run.answers.iter().filter(|(_, answer)| answer.is_none()) {
                let check = &self.policies[place.policy].rules[place.rule].check;
                if let Some(answer) = self.answer_late(run, check, acting) {
                    late.push((*number, *place, answer));
                }
            }
        }
        for (number, place, answer) in late {
            if let Some(run) = self.heard.get_mut(&number) {
                run.answers.insert(place, Some(answer));
            }
        }
    }

    fn answer_late(
        &self,
        run: &Heard,
        check: &Asked,
        acting: &BTreeMap<String, Acting>,
    ) -> Option<Answer> {
        match check {
            Asked::NoMoreThan { base, .. } => {
                let other = self.heard.values().find(|other| {
                    other.cell == run.cell && other.design.as_deref() == Some(base.as_str())
                });
                if other.is_none() && self.partial {
                    return None;
                }
                rules::no_more_than(&run.counters, other.map(|other| &other.counters), check)
            }
            Asked::WhoMustAct { only } => {
                let acting = run.design.as_ref().and_then(|design| acting.get(design));
                Some(rules::who_must_act(acting, only))
            }
            Asked::Claim { .. } | Asked::Rate { .. } => None,
        }
    }

    /// What the rules say about the run `number`, in the order of policies and rules.
    pub fn rulings(&self, number: usize) -> Vec<Ruling> {
        let Some(run) = self.heard.get(&number) else { return Vec::new() };
        let answered =
            run.answers.iter().filter_map(|(place, answer)| Some((place, answer.as_ref()?)));
        answered.map(|(place, answer)| self.ruling(run, *place, answer)).collect()
    }

    fn ruling(&self, run: &Heard, place: Place, answer: &Answer) -> Ruling {
        let policy = &self.policies[place.policy];
        let rule = &policy.rules[place.rule];
        let waiver =
            if answer.holds { None } else { waivers::about(policy, &rule.id, &run.id, self.today) };
        let excused = waiver.as_ref().is_some_and(|waiver| !waiver.expired);
        let verdict = match (answer.holds, excused) {
            (true, _) => Verdict::Pass,
            (false, true) => Verdict::ExpectedFailure,
            (false, false) => Verdict::Fail,
        };
        Ruling {
            policy: policy.name.clone(),
            rule: rule.id.clone(),
            title: rule.title.clone(),
            level: rule.level,
            verdict,
            expected: answer.expected.clone(),
            found: answer.found.clone(),
            waiver,
            help: rule.help.clone(),
            compares: compares(&rule.check),
        }
    }

    /// What has to be told beside the runs: rules that cover none of them, waivers that are past
    /// or excuse nothing. Silence would be green by accident.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        for (number, policy) in self.policies.iter().enumerate() {
            let covered = |rule: usize| {
                let place = Place { policy: number, rule };
                self.heard.values().any(|run| run.answers.contains_key(&place))
            };
            let idle: Vec<&str> = (0..policy.rules.len())
                .filter(|rule| !covered(*rule))
                .map(|rule| policy.rules[rule].id.as_str())
                .collect();
            notices.extend(uncovered(policy, &idle));
            let judged: Vec<waivers::Judged<'_>> = self
                .heard
                .values()
                .flat_map(|run| run.answers.iter().map(move |(place, answer)| (run, place, answer)))
                .filter(|(_, place, _)| place.policy == number)
                .filter_map(|(run, place, answer)| {
                    let holds = answer.as_ref()?.holds;
                    Some(waivers::Judged {
                        run: &run.id,
                        rule: &policy.rules[place.rule].id,
                        holds,
                    })
                })
                .collect();
            notices.extend(waivers::notices(policy, &judged, self.today));
            notices.extend(self.unanswered(number));
            if !self.partial {
                let runs = self.heard.values().map(|run| run.id.as_str());
                notices.extend(waivers::nowhere(policy, runs));
            }
        }
        notices
    }
}

impl Court<'_> {
    /// Rules of a policy that had nothing to compare with.
    fn unanswered(&self, policy: usize) -> Option<String> {
        let answers = self.heard.values().flat_map(|run| &run.answers);
        let silent = answers.filter(|(place, answer)| place.policy == policy && answer.is_none());
        let rules: BTreeSet<&str> =
            silent.map(|(place, _)| self.policies[policy].rules[place.rule].id.as_str()).collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        (!rules.is_empty()).then(|| {
            format!(
                "the policy {} did not judge {}: the run to compare with was not selected",
                self.policies[policy].name,
                rules.join(", ")
            )
        })
    }
}

/// What to tell of the waivers of `policy` that are past, before anything is judged.
pub fn past_waivers(policy: &Policy, today: Date) -> Vec<String> {
    waivers::past(policy, today)
}

fn uncovered(policy: &Policy, idle: &[&str]) -> Option<String> {
    let name = &policy.name;
    if idle.len() == policy.rules.len() {
        return Some(format!("the policy {name} covers no run of this selection"));
    }
    (!idle.is_empty()).then(|| {
        format!(
            "the policy {name} covers no run of this selection by its rules {}",
            idle.join(", ")
        )
    })
}
