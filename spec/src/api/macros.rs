//! The macros that declare the API. One declaration gives a plain struct or enum, its reader, its writer and its
//! entry in the table that `explain`, `schema`, the support check and the documentation are made from.

/// The name of a field in a manifest: given, or the Rust name in camelCase.
macro_rules! wire_name {
    ($field:ident $wire:literal) => {
        $wire
    };
    ($field:ident) => {{
        const RUST: &str = stringify!($field);
        const NAME: [u8; $crate::api::names::camel_len(RUST)] = $crate::api::names::camel(RUST);
        $crate::api::names::text(&NAME)
    }};
}

/// Declares an object of the API:
///
/// ```text
/// object! {
///     /// What it is.
///     pub struct Cpu {
///         /// What the field means.
///         cores as "wireName": u32 = "default in words" [required], SUPPORT;
///         ..source: VolumeSource;      // alternatives written in line (declared with union!)
///     }
/// }
/// ```
macro_rules! object {
    ($(
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $wire:literal)? : $ty:ty $([$required:ident])? $(= $default:literal)?, $support:expr;
            )*
            $(..$union:ident : $union_ty:ty;)?
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $ty,)*
            $(
                #[doc = "The alternative taken."]
                pub $union: $union_ty,
            )?
        }

        const _: () = {
            #[allow(unused_imports)]
            use $crate::api::kind::*;
            static TYPE: ObjectType = ObjectType {
                name: stringify!($name),
                doc: concat!($($about),+),
                own: &[$(Field {
                    name: wire_name!($field $($wire)?),
                    doc: concat!($($doc),+),
                    default: concat!($($default)?),
                    required: !concat!($(stringify!($required))?).is_empty(),
                    kind: <$ty as $crate::api::read::Value>::KIND,
                    support: $support,
                }),*],
                inline: {
                    #[allow(unused_mut, unused_assignments)]
                    let mut inline: &'static [Field] = &[];
                    $(inline = <$union_ty as $crate::api::union::Union>::FIELDS;)?
                    inline
                },
            };

            impl $crate::api::read::Value for $name {
                const KIND: Kind = Kind::Object(&TYPE);

                fn read(node: &$crate::source::Node, reader: &mut $crate::api::read::Reader) -> Self {
                    #[allow(unused_mut)]
                    let mut object = Self::default();
                    reader.object(node, &TYPE, &mut |key, node, reader| {
                        $(
                            if key == wire_name!($field $($wire)?) {
                                object.$field = $crate::api::read::Value::read(node, reader);
                                return true;
                            }
                        )*
                        $(
                            if $crate::api::union::Union::read_key(&mut object.$union, key, node, reader) {
                                return true;
                            }
                        )?
                        let _ = (key, node, reader);
                        false
                    });
                    object
                }

                fn to_json(&self) -> serde_json::Value {
                    #[allow(unused_mut)]
                    let mut map = serde_json::Map::new();
                    $(
                        let is_required = !concat!($(stringify!($required))?).is_empty();
                        $crate::api::write::field(
                            &mut map,
                            wire_name!($field $($wire)?),
                            is_required,
                            &self.$field,
                        );
                    )*
                    $($crate::api::union::Union::write(&self.$union, &mut map);)?
                    serde_json::Value::Object(map)
                }

                fn is_absent(&self) -> bool {
                    false
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    $crate::api::read::Value::to_json(self).serialize(serializer)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    $crate::api::read::deserialize(deserializer)
                }
            }
        };
    )+};
}

/// Declares alternatives of which an object holds exactly one, each under its own key.
macro_rules! union {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $variant:ident as $wire:literal ($ty:ty), $support:expr;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Default)]
        pub enum $name {
            /// None is given; admission reports it where one is needed.
            #[default]
            Missing,
            /// More than one is given, which admission refuses.
            Several(Vec<$name>),
            $($(#[doc = $doc])+ $variant($ty),)+
        }

        const _: () = {
            #[allow(unused_imports)]
            use $crate::api::kind::*;

            impl $crate::api::union::Union for $name {
                const FIELDS: &'static [Field] = &[$(Field {
                    name: $wire,
                    doc: concat!($($doc),+),
                    default: "",
                    required: false,
                    kind: <$ty as $crate::api::read::Value>::KIND,
                    support: $support,
                }),+];

                fn read_key(
                    &mut self,
                    key: &str,
                    node: &$crate::source::Node,
                    reader: &mut $crate::api::read::Reader,
                ) -> bool {
                    let found = match key {
                        $($wire => Self::$variant($crate::api::read::Value::read(node, reader)),)+
                        _ => return false,
                    };
                    match self {
                        Self::Missing => *self = found,
                        Self::Several(all) => all.push(found),
                        _ => *self = Self::Several(vec![std::mem::take(self), found]),
                    }
                    true
                }

                fn write(&self, map: &mut serde_json::Map<String, serde_json::Value>) {
                    match self {
                        Self::Missing => {}
                        Self::Several(all) => all.iter().for_each(|one| one.write(map)),
                        $(Self::$variant(value) => $crate::api::write::field(map, $wire, true, value),)+
                    }
                }
            }

            impl $name {
                /// The key in the manifest of the alternative taken; `None` when there is not exactly one.
                pub fn key(&self) -> Option<&'static str> {
                    match self {
                        Self::Missing | Self::Several(_) => None,
                        $(Self::$variant(_) => Some($wire),)+
                    }
                }
            }
        };
    };
}

/// Declares a choice of words. Words the API does not know are kept, for admission to name them. An empty word is
/// no word, but for a `[pointer]` choice: a pointer in KubeVirt's Go API, where empty text is a (wrong) value.
macro_rules! choice {
    ($(
        $(#[doc = $about:literal])+
        pub enum $name:ident $([$pointer:ident])? {
            $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
            /// A word that the API does not know; admission refuses it.
            Other(String),
        }

        impl $name {
            /// The words of the API.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the manifest.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::api::read::Value for $name {
            const KIND: $crate::api::kind::Kind = $crate::api::kind::Kind::Choice(Self::WORDS);

            fn read(node: &$crate::source::Node, reader: &mut $crate::api::read::Reader) -> Self {
                let word = <String as $crate::api::read::Value>::read(node, reader);
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word),
                }
            }

            fn to_json(&self) -> serde_json::Value {
                self.as_str().into()
            }

            fn is_absent(&self) -> bool {
                matches!(self, Self::Other(word) if word.is_empty())
            }

            fn is_void(&self) -> bool {
                let is_pointer = !concat!($(stringify!($pointer))?).is_empty();
                self.is_absent() && !is_pointer
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::api::read::deserialize(deserializer)
            }
        }
    )+};
}
