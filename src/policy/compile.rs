//! Catalogue × policy file → rules. All mistakes are found here and told at once; after this nothing can fail.

use super::file::{Mode, Override, PolicyFile};
use super::{
    ActionPlan, Book, CallPlan, Field, Namespace, Node, NodeId, Object, Plan, Purpose, Purposes, Role, Rules, Special, Text, VariableRule,
    Words, reading_purposes, senders,
};
use crate::ocpp::catalogue::{Carries, Catalogue, FieldSpec, Fields, MessageSpec, VariableSpec, Variables};
use crate::ocpp::{Side, Version};
use std::collections::{BTreeMap, HashMap};

/// Node 0 of every plan.
const WITHHOLD: NodeId = 0;
/// Longest name, in characters, where the standard gives no bound.
const NAME: u32 = 50;

/// What a policy makes of one field: the same decision drives the plan and its explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Crosses, with the treatment of its kind.
    Crosses,
    /// No enabled purpose needs it.
    Unneeded,
    /// An override withholds it.
    Dropped,
}

pub(crate) type Overrides = HashMap<(Version, String), Override>;

pub(crate) fn decide(spec: &FieldSpec, to: Side, enabled: Purposes, forced: Option<Override>) -> Decision {
    match (forced, needed_for(spec, to)) {
        (Some(Override::Drop), _) => Decision::Dropped,
        (Some(Override::Keep), _) | (None, None) => Decision::Crosses,
        (None, Some(purposes)) if enabled.any(purposes) => Decision::Crosses,
        (None, Some(_)) => Decision::Unneeded,
    }
}

/// The purposes that a field needs one of; `None` if it crosses with its parent. Free text on its way up always needs one: people write
/// anything into it.
pub(crate) fn needed_for(spec: &FieldSpec, to: Side) -> Option<&[Purpose]> {
    match &spec.purposes {
        None if spec.is == "text" && to == Side::Csms => Some(&[Purpose::Quality]),
        purposes => purposes.as_deref(),
    }
}

pub(crate) fn overrides(file: &PolicyFile, catalogues: &[Catalogue; 3], mistakes: &mut Vec<String>) -> Overrides {
    let mut found = Overrides::new();
    for (number, spec) in file.overrides.iter().enumerate() {
        let mut wrong = |key: &str, why: &str| mistakes.push(format!("override[{number}].{key}: {why}"));
        if spec.reason.trim().is_empty() {
            wrong("reason", "must not be empty");
        }
        let Some(version) = Version::ALL.into_iter().find(|v| v.number() == spec.version) else {
            wrong("version", "must be \"1.6\", \"2.0.1\" or \"2.1\"");
            continue;
        };
        match lookup(&catalogues[version as usize], &spec.field) {
            None => wrong("field", "names no field of the catalogue"),
            Some(field) if spec.treatment == Some(Override::Keep) && field.is == "token" => {
                wrong("treatment", "an identifier of a driver is always replaced; it cannot be kept");
            }
            Some(field) if spec.treatment == Some(Override::Drop) && field.required && field.otherwise.is_none() => {
                wrong(
                    "treatment",
                    "the standard requires this field and the catalogue has nothing to put in its place: the message would be invalid",
                );
            }
            Some(_) => {
                found.extend(spec.treatment.map(|treatment| ((version, spec.field.clone()), treatment)));
            }
        }
    }
    found
}

fn lookup<'a>(catalogue: &'a Catalogue, path: &str) -> Option<&'a FieldSpec> {
    let parts: Vec<&str> = path.split('.').collect();
    match parts[..] {
        [action, "request", field] => catalogue.messages.get(action)?.request.get(field),
        [action, "response", field] => catalogue.messages.get(action)?.response.get(field),
        [name, field] => catalogue.types.get(name)?.get(field),
        _ => None,
    }
}

pub(super) fn compile(profile_or_text: &str, namespaces: Vec<Namespace>, book: &Book) -> Result<Rules, Vec<String>> {
    let mut mistakes = Vec::new();
    let file = PolicyFile::read(profile_or_text, &mut mistakes);
    let overrides = overrides(&file, &book.catalogues, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let purposes: [Purposes; 2] = [file.station.purposes.iter().copied().collect(), file.csms.purposes.iter().copied().collect()];
    let variables = &book.variables;
    let mut words = Vec::new();
    let plans = Version::ALL.map(|version| {
        let catalogue = &book.catalogues[version as usize];
        words.extend(catalogue.words.values().flatten().chain(catalogue.messages.keys()).cloned());
        plan(version, catalogue, variables, purposes, &overrides)
    });
    // A tag that looks like a part of a key's name ("FreevendIdTag") does not make the answer with the key a leak.
    let names = variables.components.iter().flat_map(|(name, specs)| std::iter::once(name).chain(specs.keys()));
    words.extend(variables.keys.keys().chain(names).cloned());
    let enabled = purposes[Side::Csms as usize];
    let rule = |spec: &VariableSpec| variable_rule(spec, enabled, purposes[Side::Station as usize]);
    let table = |specs: &BTreeMap<String, VariableSpec>| -> HashMap<String, VariableRule> {
        specs.iter().map(|(name, spec)| (name.to_ascii_lowercase(), rule(spec))).collect()
    };
    Ok(Rules {
        name: file.name.clone(),
        mode: file.mode,
        namespaces,
        purposes,
        plans,
        keys: table(&variables.keys),
        components: variables.components.iter().map(|(name, specs)| (name.to_ascii_lowercase(), table(specs))).collect(),
        words: words.into_iter().collect(),
        allow_all: false,
    })
}

fn variable_rule(spec: &VariableSpec, up: Purposes, down: Purposes) -> VariableRule {
    let readable = up.any(reading_purposes(spec));
    let settable = down.any(spec.set_for.as_deref().unwrap_or_else(|| reading_purposes(spec)));
    let max = spec.max.unwrap_or(NAME);
    let text = match spec.is.as_str() {
        "time" => Text::Time,
        "token" => Text::Token { max: u32::MAX },
        "text" => Text::Scrub,
        "url" | "serial" | "opaque" => Text::Plain,
        "ref" => Text::Ref,
        "hash" => Text::Hash,
        "pem" => Text::Certificates,
        "boolean" | "integer" | "number" | "decimal" => Text::Decimal,
        "enum-list" => {
            spec.values.as_ref().map_or(Text::Name { max: 2500, given: true }, |v| Text::Word(v.iter().cloned().collect::<Words>().into()))
        }
        _ => Text::Name { max, given: true },
    };
    VariableRule {
        up: text,
        readable: readable && spec.is != "secret",
        settable: settable || spec.is == "secret",
        token: spec.is == "token",
        secret: spec.is == "secret",
    }
}

struct Builder<'a> {
    version: Version,
    types: [&'a BTreeMap<String, Fields>; 2],
    words: [&'a BTreeMap<String, Vec<String>>; 2],
    overrides: &'a Overrides,
    recipient: Side,
    enabled: Purposes,
    nodes: Vec<Node>,
    /// Objects already built, by recipient and type.
    built: HashMap<(Side, String), NodeId>,
}

fn plan(version: Version, catalogue: &Catalogue, variables: &Variables, purposes: [Purposes; 2], overrides: &Overrides) -> Plan {
    let mut builder = Builder {
        version,
        types: [&catalogue.types, &variables.types],
        words: [&catalogue.words, &variables.words],
        overrides,
        recipient: Side::Csms,
        enabled: Purposes::default(),
        nodes: vec![Node::Withhold],
        built: HashMap::new(),
    };
    let names = catalogue.messages.keys().cloned().collect();
    let actions = catalogue
        .messages
        .iter()
        .map(|(action, spec)| ActionPlan { name: crate::ocpp::intern(action), from: builder.calls(action, spec, purposes) })
        .collect();
    let mut vendors = HashMap::new();
    if version == Version::V16 {
        for (vendor, messages) in &variables.vendor {
            for (message, spec) in messages {
                let calls = builder.calls(&format!("{vendor}/{message}"), spec, purposes);
                vendors.insert((vendor.clone(), message.clone()), calls);
            }
        }
    }
    let vendor_ids = variables.vendor.keys().cloned().collect();
    Plan { nodes: builder.nodes, names, actions, vendors, vendor_ids }
}

impl Builder<'_> {
    fn calls(&mut self, action: &str, spec: &MessageSpec, purposes: [Purposes; 2]) -> [Option<CallPlan>; 2] {
        let may = senders(spec.from);
        [Side::Station, Side::Csms].map(|from| may[from as usize].then(|| self.call(action, spec, from, purposes)))
    }

    fn call(&mut self, action: &str, spec: &MessageSpec, from: Side, purposes: [Purposes; 2]) -> CallPlan {
        let mut part = |recipient: Side, name: &str, fields: &Fields| {
            self.recipient = recipient;
            self.enabled = purposes[recipient as usize];
            let node = self.object(&format!("{action}.{name}"), fields);
            self.add(node)
        };
        let request = part(from.other(), "request", &spec.request);
        let response = part(from, "response", &spec.response);
        CallPlan {
            crosses: purposes[from.other() as usize].any(&spec.purposes),
            request,
            response,
            answer: spec.answer.as_deref().map(Box::from),
            send: spec.kind.as_deref() == Some("send"),
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() as NodeId - 1
    }

    fn object(&mut self, container: &str, fields: &Fields) -> Node {
        let has = |name: &str, is: &str| fields.get(name).is_some_and(|f| f.is == is);
        let special = if fields.values().any(|f| f.is == "token") && fields.contains_key("type") {
            Special::Token
        } else if fields.values().any(|f| f.is == "vendor-data") {
            Special::Vendor
        } else if has("key", "key") {
            Special::Key
        } else if fields.contains_key("component") && fields.contains_key("variable") {
            Special::Pair
        } else if container.starts_with("SampledValue") {
            Special::Sampled
        } else if container.starts_with("MeterValue") && fields.contains_key("sampledValue") {
            Special::Meter
        } else if container == "AuthorizationData" {
            Special::Entry
        } else {
            Special::None
        };
        let fields = fields.iter().map(|(name, spec)| self.field(container, name, spec, special)).collect();
        Node::Object(Object { fields, special })
    }

    fn field(&mut self, container: &str, name: &str, spec: &FieldSpec, special: Special) -> Field {
        let forced = self.overrides.get(&(self.version, format!("{container}.{name}"))).copied();
        let crosses = decide(spec, self.recipient, self.enabled, forced) == Decision::Crosses;
        let mut node = if crosses { self.value(spec) } else { WITHHOLD };
        // A required serial number becomes a stable code, never nothing.
        if !crosses && spec.is == "serial" && spec.required && spec.otherwise.is_none() {
            node = self.add(Node::Text(Text::Code { max: spec.max.unwrap_or(20) }));
        }
        if crosses && spec.list {
            node = self.add(Node::List { item: node, min: spec.min });
        }
        let role = match (special, name) {
            (Special::Sampled, "measurand") => Role::Measurand,
            (Special::Sampled, "context") => Role::Context,
            (Special::Sampled, "location") => Role::Location,
            (Special::Sampled, "format") => Role::Format,
            (Special::Sampled, "value") => Role::Value,
            (Special::Sampled, "unit" | "phase" | "unitOfMeasure") => Role::Qualifier,
            (Special::Meter, "timestamp") => Role::MeterTime,
            (Special::Entry, "idTag" | "idToken") => Role::Card,
            (Special::Entry, "idTagInfo" | "idTokenInfo") => Role::Info,
            (_, "connectorId" | "evseId" | "transactionId") => Role::Series,
            _ => Role::None,
        };
        Field { name: name.into(), node, required: spec.required, otherwise: spec.otherwise.as_deref().map(Box::from), role }
    }

    fn value(&mut self, spec: &FieldSpec) -> NodeId {
        if let Some(fields) = self.types.iter().find_map(|t| t.get(&spec.is)) {
            let key = (self.recipient, spec.is.clone());
            if let Some(id) = self.built.get(&key) {
                return *id;
            }
            let whole = spec.carries == Some(Carries::SignedMeter) && self.enabled.has(Purpose::CalibrationLaw);
            let node = if whole { Node::Whole } else { self.object(&spec.is, fields) };
            let id = self.add(node);
            self.built.insert(key, id);
            return id;
        }
        let up = self.recipient == Side::Csms;
        let max = spec.max.unwrap_or(NAME);
        let node = match (spec.is.as_str(), up) {
            ("boolean", _) => Node::Boolean,
            ("integer", _) => Node::Integer,
            ("number", _) => Node::Number,
            ("any", _) => Node::Any,
            ("token", _) => Node::Text(Text::Token { max: spec.max.unwrap_or(u32::MAX) }),
            ("ref" | "hash", false) => Node::Text(Text::Ref),
            ("transaction", _) => Node::Text(Text::Transaction),
            ("vendor", _) => Node::Text(Text::Vendor),
            ("vendor-message", _) => Node::Text(Text::VendorMessage),
            ("vendor-data", _) => Node::Text(Text::VendorData),
            ("variable-value" | "key-value", _) => Node::Text(Text::VariableValue),
            ("component" | "variable" | "instance" | "key", false) => Node::Text(Text::AskedName),
            (_, false) => Node::Text(Text::Plain),
            ("decimal", true) => Node::Text(Text::Decimal),
            ("time", true) => Node::Text(Text::Time),
            ("enum", true) => {
                let list = spec.values.as_deref().unwrap_or_default();
                let words = self.words.iter().find_map(|w| w.get(list));
                Node::Text(Text::Word(words.into_iter().flatten().cloned().collect::<Words>().into()))
            }
            ("ref", true) => Node::Text(Text::Ref),
            ("text", true) => Node::Text(Text::Scrub),
            ("language", true) => Node::Text(Text::Language),
            ("pem", true) => Node::Text(Text::Certificates),
            ("csr", true) => Node::Text(Text::CertificateRequest),
            ("exi", true) => Node::Text(Text::Exi),
            ("hash", true) => Node::Text(Text::Hash),
            ("serial" | "opaque" | "url", true) => Node::Text(Text::Plain),
            ("component", true) => Node::Text(Text::Component),
            ("variable", true) => Node::Text(Text::Variable),
            ("key", true) => Node::Text(Text::Key),
            ("label", true) => Node::Text(Text::Name { max, given: true }),
            ("given", true) => Node::Text(Text::Given { max }),
            // `name`, `instance`, and anything the catalogue may come to say: the careful reading.
            (_, true) => Node::Text(Text::Name { max, given: false }),
        };
        self.add(node)
    }
}

/// Makes rules let everything pass untouched.
pub(super) fn open(rules: &mut Rules) {
    rules.allow_all = true;
    rules.mode = Mode::Enforce;
    for plan in &mut rules.plans {
        plan.nodes[0] = Node::Any;
        for action in &mut plan.actions {
            let send = action.from.iter().flatten().any(|c| c.send);
            action.from = [(); 2].map(|()| Some(CallPlan { crosses: true, request: WITHHOLD, response: WITHHOLD, answer: None, send }));
        }
    }
}
