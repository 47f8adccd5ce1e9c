//! The decoder: lines and what they say, any split, any bytes.

use super::*;
