//! Kinglet runs foundation models on small machines.
