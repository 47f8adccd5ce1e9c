//! The arguments of a request, borrowed from the bytes that it came in.
//!
//! What always holds: nothing is copied; an argument that isn't there reads as empty.

/// A stretch of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// How many bytes it has.
    pub len: u32,
}

/// The arguments of one request.
#[derive(Clone, Copy, Debug)]
pub struct Args<'b> {
    input: &'b [u8],
    spans: &'b [Span],
}

impl<'b> Args<'b> {
    /// The arguments that `spans` cut out of `input`.
    #[inline]
    pub const fn new(input: &'b [u8], spans: &'b [Span]) -> Self {
        Self { input, spans }
    }

    /// How many there are, the command's name included.
    #[inline]
    pub const fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `i`.
    #[inline]
    pub fn get(self, i: usize) -> Option<&'b [u8]> {
        let span = self.spans.get(i)?;
        let start = span.start as usize;
        self.input.get(start..start + span.len as usize)
    }

    /// The argument at `i`, empty if there is none.
    #[inline]
    pub fn at(self, i: usize) -> &'b [u8] {
        self.get(i).unwrap_or_default()
    }

    /// All arguments in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'b [u8]> + DoubleEndedIterator {
        (0..self.len()).map(move |i| self.at(i))
    }

    /// The arguments from the `n`-th on.
    #[must_use]
    pub fn from(self, n: usize) -> Self {
        Self { input: self.input, spans: self.spans.get(n..).unwrap_or_default() }
    }

    /// The bytes of all arguments together.
    pub fn bytes(self) -> usize {
        self.spans.iter().map(|span| span.len as usize).sum()
    }
}

/// Arguments with bytes of their own, for a request that has to wait.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// A copy of `args`.
    pub fn from_args(args: Args<'_>) -> Self {
        let mut owned =
            Self { bytes: Vec::with_capacity(args.bytes()), spans: Vec::with_capacity(args.len()) };
        args.iter().for_each(|arg| owned.push(arg));
        owned
    }

    /// Appends one argument.
    pub fn push(&mut self, arg: &[u8]) {
        self.spans.push(Span { start: self.bytes.len() as u32, len: arg.len() as u32 });
        self.bytes.extend_from_slice(arg);
    }

    /// The arguments.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Bytes of memory that they take.
    pub const fn size(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }
}
