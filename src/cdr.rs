//! The charge detail record: what a charging session costs, and its shapes in OCPI 2.1.1, 2.2.1 and 2.3.0. Pure, and unable to name a
//! clear identifier (I7).
