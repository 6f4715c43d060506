//! The integration tests: one binary, a module a subject. They need `python3` with `venv`, and a package registry at
//! the first run; everything else is started here and ends with the test process.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod aws;
mod cloud;
mod commands;
mod daemon;
mod deployment;
mod environment;
mod events;
mod fetch;
mod notifications;
mod postgres;
mod queue;
mod rest;
mod sandbox;
mod schemas;
mod story_alerts;
mod story_aws;
mod story_catalogs;
mod story_destinations;
mod story_evolution;
mod story_explain;
mod story_faults;
mod story_found;
mod story_key_value;
mod story_kills;
mod story_lake;
mod story_load;
mod story_local;
mod story_losses;
mod story_lookup;
mod story_replicas;
mod story_reload;
mod story_onboarding;
mod story_parquet;
mod story_remote;
mod story_replay;
mod story_rollout;
mod story_scheduled;
mod story_search;
mod story_source;
mod story_tools;
mod story_traces;
mod story_transfers;
mod venv;
mod vendor;
