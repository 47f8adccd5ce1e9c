//! Rules of strings that RESP and memcached share.
