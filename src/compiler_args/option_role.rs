//! What can be said of a compiler's option: how its value is written, what that names, and what the option means for
//! distribution. Knows no option; `option_table` lists them.

/// How an option's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The word is the whole option.
    None,
    /// The value, perhaps empty, follows in the same word.
    Joined,
    /// The value is the next word.
    Separate,
    /// The value follows in the same word if there is more of it, else it is the next word.
    Either,
}

/// The parts of a request for a dependency file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DependencyPart {
    /// Asks for the file.
    Request,
    /// Names the file.
    File,
    /// Names a target, as it is.
    Target,
    /// Names a target, to be quoted for make.
    QuotedTarget,
    /// Changes what is written.
    Detail,
}

/// What an option means for distribution. The texts complete a sentence that begins with the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing: listed because of its value, or to shield it from a shorter row.
    Keep,
    /// `-c`.
    Compile,
    /// `-S`.
    Assemble,
    /// `-E`.
    Preprocess,
    /// Names the output.
    Output,
    /// Declares the language of the sources after it.
    Language,
    /// Chooses one of Apple's architectures; harmless once, several compilations if repeated.
    Architecture,
    /// Part of a request for a dependency file.
    Dependency(DependencyPart),
    /// `-M` and its relatives: dependencies instead of a compilation.
    ImpliesPreprocessing,
    /// Used up by preprocessing: not sent with preprocessed text, where clang would call it unused.
    Preprocessor,
    /// The same, and its effect is on this machine: not sent to a preprocessing server either.
    PreprocessorHere,
    /// `-Xpreprocessor`: the value decides.
    PassedToPreprocessor,
    /// Used up by linking: changes no object, and clang calls it unused.
    Linker,
    /// Where the compiler looks for its tools: distributed if that is the system's own place.
    ToolDirectory,
    /// `-Xclang`: the value decides.
    Frontend,
    /// `-mllvm`: harmless at home; on a server the value decides.
    Backend,
    /// `-Wa,` and `-Xassembler`: local if the assembler is to write a listing or dependencies.
    Assembler,
    /// Means the processor of the machine that runs the compiler.
    Native,
    /// `-flto`, which servers of 3.4 refuse in exactly this spelling.
    Lto,
    /// Compiled locally; a server of 3.4 refuses it too.
    Profile(&'static str),
    /// Compiled locally.
    Local(&'static str),
    /// Compiled locally, because the compiler writes a file beside the object.
    SideOutput(&'static str),
    /// The same, with a name of the user's choice: no server lets a client choose one.
    SideFile(&'static str),
    /// A `SideFile` if the value contains `=`; else output to stderr.
    FileAfterEquals(&'static str),
    /// Compiled locally unless the output is named.
    ChangesOutputName(&'static str),
    /// Compiled locally, and refused by servers: it would run code, or read or write files, of the client's choice.
    Refused(&'static str),
}

/// What an option's value names, so that a server can put it where the client's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Nothing, or a file that is the same on all machines, or one that only other roles speak of.
    Nothing,
    /// A file or directory that preprocessing reads, or the beginning of such names.
    Source,
    /// A directory that takes the place of `/` for the compiler: the client's own, or one that servers have too.
    SystemRoot,
    /// `OLD=NEW`: how to write names that begin with OLD.
    PrefixMap,
}
