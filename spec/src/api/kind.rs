//! What a field of the API is: its name, type, default, meaning and what kubevmm does with it.
//!
//! Every object of the API is declared once, with the `object!` macro. The declaration makes the Rust type,
//! its reader and writer, and the [`ObjectType`] that `check`, `explain`, `schema` and the compatibility page
//! are made from, so that none of them can disagree with another.

/// The type of a value in a manifest.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between the two bounds, both included.
    Int(i128, i128),
    /// Any text.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A Kubernetes quantity such as `512Mi`.
    Quantity,
    /// A whole number or text (a port by number or name).
    IntOrString,
    /// A moment in RFC 3339 form.
    Time,
    /// Bytes in base64.
    Base64,
    /// An object of the API.
    Object(&'static ObjectType),
    /// A list of values of one type.
    List(&'static Kind),
    /// Names to values of one type.
    Map(&'static Kind),
    /// Anything: content that kubevmm only carries.
    Any,
}

impl Kind {
    /// The type in the words of `kubevmm explain`, e.g. `[]Disk`.
    pub fn describe(&self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::Int(0, _) => "integer (0 or more)".into(),
            Self::Int(..) => "integer".into(),
            Self::Text => "string".into(),
            Self::Choice(words) => format!("string, one of: {}", words.join(", ")),
            Self::Quantity => "quantity (e.g. 512Mi)".into(),
            Self::IntOrString => "integer or string".into(),
            Self::Time => "time (RFC 3339)".into(),
            Self::Base64 => "string (base64)".into(),
            Self::Object(object) if object.fields().next().is_none() => "object without fields, {}".into(),
            Self::Object(object) => object.name.into(),
            Self::List(item) => format!("[]{}", item.describe()),
            Self::Map(item) => format!("map of string to {}", item.describe()),
            Self::Any => "any value".into(),
        }
    }

    /// Whether a field of the object at the bottom of this type can be refused by itself.
    pub fn has_refusals(&self) -> bool {
        let is_refusal = |field: &Field| matches!(field.support, Support::NotSupported(..));
        self.object().is_some_and(|object| object.fields().any(is_refusal))
    }

    /// The object at the bottom of this type, through lists and maps.
    pub fn object(&self) -> Option<&'static ObjectType> {
        match self {
            Self::Object(object) => Some(object),
            Self::List(item) | Self::Map(item) => item.object(),
            _ => None,
        }
    }
}

/// An object type of the API with its fields.
#[derive(Debug)]
pub struct ObjectType {
    /// The type's name, as in KubeVirt's Go API where there is one.
    pub name: &'static str,
    /// What the object is, in our own words.
    pub doc: &'static str,
    /// The fields declared by the object itself.
    pub own: &'static [Field],
    /// The alternatives written in line with the other fields (the source of a volume, the binding of an
    /// interface); empty for most objects.
    pub inline: &'static [Field],
}

impl ObjectType {
    /// All fields, in the order of the declaration.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.own.iter().chain(self.inline.iter())
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().find(|field| field.name == name)
    }
}

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    /// The key in the manifest.
    pub name: &'static str,
    /// What the field means, in our own words.
    pub doc: &'static str,
    /// The value taken when the field is absent, in words; empty where absence means "nothing".
    pub default: &'static str,
    /// Whether the API demands the field.
    pub required: bool,
    /// The type of the value.
    pub kind: Kind,
    /// What kubevmm does with the field.
    pub support: Support,
}

/// What kubevmm does with a field.
#[derive(Debug, Clone, Copy)]
pub enum Support {
    /// The field has the effect that KubeVirt gives it.
    Honoured,
    /// The field speaks to the cluster (scheduler, controllers, kubelet), not to the machine: accepted, no
    /// effect in this process.
    Cluster,
    /// Accepted, with a warning that says what it does not do.
    Warning(When, &'static str),
    /// Refused: running without it would be silently wrong.
    NotSupported(When, &'static str),
}

/// Which values of a field a [`Support`] speaks of.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Whenever the field is given.
    Given,
    /// When it is `true`.
    True,
    /// When it is `false`.
    False,
    /// When it is an object that switches something on: `{}` or `enabled: true`.
    On,
    /// When it is an object with `enabled: false`.
    Off,
    /// When it is one of these words.
    OneOf(&'static [&'static str]),
    /// When it is none of these words.
    NoneOf(&'static [&'static str]),
}

/// The field does what KubeVirt says.
pub const HONOURED: Support = Support::Honoured;
/// The field concerns the cluster only.
pub const CLUSTER: Support = Support::Cluster;

/// Accepted with a warning whenever given.
pub const fn warn(reason: &'static str) -> Support {
    Support::Warning(When::Given, reason)
}

/// Accepted with a warning for some values.
pub const fn warn_when(when: When, reason: &'static str) -> Support {
    Support::Warning(when, reason)
}

/// Refused whenever given.
pub const fn no(reason: &'static str) -> Support {
    Support::NotSupported(When::Given, reason)
}

/// Refused for some values.
pub const fn no_when(when: When, reason: &'static str) -> Support {
    Support::NotSupported(when, reason)
}
