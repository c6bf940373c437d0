//! Finds numbers that JSON does not have: `serde_json` writes them as `null`, and a replay would get something else than the
//! first execution did.

use std::fmt;

use serde::{Serialize, Serializer, ser};

/// Whether a value that has become this JSON is without infinities and "not a number".
pub(super) fn is_finite<T: Serialize + ?Sized>(value: &T, json: &[u8]) -> bool {
    // Most outputs have no `null` at all, and need not be looked through again.
    let has_null = memchr::memchr_iter(b'n', json).any(|at| json[at..].starts_with(b"null"));
    !has_null || !matches!(value.serialize(Finite), Err(Stopped::NotFinite))
}

/// Takes a value apart, and stops at a number that is not finite.
#[derive(Clone, Copy)]
struct Finite;

/// The reason for which a value was not looked through to its end.
#[derive(Debug)]
enum Stopped {
    NotFinite,
    /// The value's own: it would have failed before, when it was written.
    Other,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number is not finite")
    }
}

impl std::error::Error for Stopped {}

impl ser::Error for Stopped {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Other
    }
}

type Done = Result<(), Stopped>;

macro_rules! fine {
    ($($method:ident($($arg:ty),*);)+) => {
        $(fn $method(self, $(_: $arg),*) -> Done {
            Ok(())
        })+
    };
}

macro_rules! parts {
    ($($method:ident($($arg:ty),*);)+) => {
        $(fn $method(self, $(_: $arg),*) -> Result<Self, Stopped> {
            Ok(self)
        })+
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Stopped;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    parts! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, value: f32) -> Done {
        if value.is_finite() { Ok(()) } else { Err(Stopped::NotFinite) }
    }

    fn serialize_f64(self, value: f64) -> Done {
        if value.is_finite() { Ok(()) } else { Err(Stopped::NotFinite) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Done {
        Ok(())
    }
}

macro_rules! compound {
    ($($name:ident: $method:ident($($key:ty)?);)+) => {
        $(impl ser::$name for Finite {
            type Ok = ();
            type Error = Stopped;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Done {
                value.serialize(*self)
            }

            fn end(self) -> Done {
                Ok(())
            }
        })+
    };
}

compound! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Stopped;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Done {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(*self)
    }

    fn end(self) -> Done {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::is_finite;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(Option<f64>),
        Two(f32, u8),
        Named { side: f64 },
    }

    fn finite(value: &impl Serialize) -> bool {
        is_finite(value, &serde_json::to_vec(value).unwrap())
    }

    #[test]
    fn numbers_that_json_does_not_have_are_found_wherever_they_are() {
        let map = |value: f64| BTreeMap::from([("a", vec![(1, Some(value))])]);
        assert!(finite(&map(1.5)) && finite(&(None::<f64>, Shape::Unit, "null", ())));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!finite(&value) && !finite(&map(value)) && !finite(&Shape::Named { side: value }));
            assert!(!finite(&Some(Shape::One(Some(value)))) && !finite(&[Shape::One(None), Shape::One(Some(value))]));
        }
        assert!(!finite(&Shape::Two(f32::NAN, 1)) && finite(&Shape::Two(0.5, 1)));
    }
}
