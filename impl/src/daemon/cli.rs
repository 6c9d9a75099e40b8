//! The command line of `statusquo-vmmd`: the daemon itself, and a client for each of its requests.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use super::{
    Options, Places,
    control::{Asked, Event, Form, LINE_MAX, Line, Named, Reply, Request, causes},
};

/// Manages QEMU guests that outlive it.
#[derive(Debug, Parser)]
#[command(name = "statusquo-vmmd", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: Directories,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused: the daemon or QEMU says why
  2  usage or bad input
  3  no daemon answers";

#[derive(Debug, Args)]
struct Directories {
    /// Where definitions are kept
    #[arg(long, global = true, env = "STATUSQUO_VMMD_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sockets, status files and logs of QEMU are
    #[arg(long, global = true, env = "STATUSQUO_VMMD_RUNTIME_DIR", value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

impl Directories {
    fn places(&self) -> Places {
        let user = Places::of_user();
        Places {
            state: self.state_dir.clone().unwrap_or(user.state),
            runtime: self.runtime_dir.clone().unwrap_or(user.runtime),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM; the guests go on without it
    Run(Run),
    /// Keep a definition
    Define {
        /// Domain XML, `-` for standard input
        file: PathBuf,
    },
    /// Forget a definition; a running domain goes on
    Undefine { domain: String },
    /// Start a domain
    Start { domain: String },
    /// End a running domain at once
    Destroy { domain: String },
    /// Print a definition
    Dumpxml {
        domain: String,
        #[command(flatten)]
        form: Forms,
    },
    /// Plug a device into a running domain
    Attach {
        domain: String,
        /// The device's XML, `-` for standard input
        file: PathBuf,
    },
    /// Unplug a device of a running domain
    Detach {
        domain: String,
        /// XML that is about the device, `-` for standard input
        #[arg(required_unless_present = "alias", conflicts_with = "alias")]
        file: Option<PathBuf>,
        /// The device's alias
        #[arg(long)]
        alias: Option<String>,
    },
    /// Print the pty of a console: the first, or the one of that alias
    Console {
        domain: String,
        /// The alias of a console or a serial port
        #[arg(long)]
        alias: Option<String>,
    },
    /// List the domains
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print events, one JSON document a line, until interrupted
    Events,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Forms {
    /// Of the running domain, or the kept one where it does not run [the default]
    #[arg(long)]
    live: bool,
    /// The kept one: what the next start will use
    #[arg(long)]
    inactive: bool,
    /// The whole status file
    #[arg(long)]
    status: bool,
    /// Of the running domain, as another host can be given it
    #[arg(long)]
    migratable: bool,
}

impl Forms {
    fn form(&self) -> Form {
        match self {
            Forms { inactive: true, .. } => Form::Inactive,
            Forms { status: true, .. } => Form::Status,
            Forms { migratable: true, .. } => Form::Migratable,
            _ => Form::Live,
        }
    }
}

#[derive(Debug, Args)]
struct Run {
    /// Log here instead of to standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How to log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What to log: a level, or directives of tracing's EnvFilter
    #[arg(long, env = "STATUSQUO_VMMD_LOG", default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// How long a request to unplug waits for the guest
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    unplug_wait: u64,
    /// How long a monitor may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    reply_within: u64,
    /// For tests: effects are performed one by one, when a client asks for each
    #[arg(long, hide = true)]
    stepwise: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Runs one command of the daemon's command line; the first word is the program's name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

fn failure<T>(code: u8, text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { code, text: text.into() })
}

impl Cli {
    fn run(&self) -> Result<(), Failure> {
        let places = self.places.places();
        let domain = |domain: &String| domain.clone();
        let request = match &self.command {
            Command::Run(run) => return run.run(places),
            Command::Define { file } => Request::Define { xml: text_of(file)? },
            Command::Undefine { domain: name } => Request::Undefine { domain: domain(name) },
            Command::Start { domain: name } => Request::Start { domain: domain(name) },
            Command::Destroy { domain: name } => Request::Destroy { domain: domain(name) },
            Command::Dumpxml { domain: name, form } => {
                Request::Dump { domain: domain(name), form: form.form() }
            }
            Command::Attach { domain: name, file } => {
                Request::Attach { domain: domain(name), xml: text_of(file)? }
            }
            Command::Detach { domain: name, file, alias } => {
                let device = match (alias, file) {
                    (Some(alias), _) => Named::Alias(alias.clone()),
                    (None, Some(file)) => Named::Xml(text_of(file)?),
                    (None, None) => return failure(2, "name a device by XML or by --alias"),
                };
                Request::Detach { domain: domain(name), device }
            }
            Command::Console { domain: name, alias } => {
                Request::OpenConsole { domain: domain(name), name: alias.clone() }
            }
            Command::List { .. } => Request::List,
            Command::Events => Request::Events,
        };
        let mut connection = Connection::open(&places.socket())?;
        let reply = connection.ask(request)?;
        match (&self.command, reply) {
            (Command::List { json: true }, Reply::Domains(domains)) => {
                let text = serde_json::to_string(&domains);
                print(&text.map_err(|error| Failure { code: 1, text: error.to_string() })?)
            }
            (Command::List { .. }, Reply::Domains(domains)) => {
                let rows = domains.iter().map(|one| {
                    let pid = one.pid.map_or("-".to_owned(), |pid| pid.to_string());
                    let kept = if one.persistent { "kept" } else { "not kept" };
                    format!("{:<24} {:<13} {pid:<9} {kept}\n", one.domain, one.state.as_str())
                });
                print(&rows.collect::<String>())
            }
            (Command::Events, _) => connection.print_events(),
            (_, Reply::Xml(xml)) => print(&xml),
            (_, Reply::Defined { domain }) => print(&format!("defined {domain}")),
            (_, Reply::Attached { alias }) => print(&format!("attached {alias}")),
            (_, Reply::Detached { alias }) => print(&format!("detached {alias}")),
            (_, Reply::Console { path, .. }) => print(&path),
            (_, Reply::UnplugRequested { alias }) => print(&format!(
                "the guest was asked to let go of {alias}; an event tells when it has"
            )),
            _ => Ok(()),
        }
    }
}

/// Prints with a line end; a reader that has gone has seen enough.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes()));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            failure(1, format!("print: {error}"))
        }
        _ => Ok(()),
    }
}

/// The text of a file, no longer than a request can be.
fn text_of(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = LINE_MAX as u64 + 1;
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    match read {
        Ok(count) if count > LINE_MAX => {
            failure(2, format!("`{}` has more than {LINE_MAX} bytes", path.display()))
        }
        Ok(_) => Ok(text),
        Err(error) => failure(2, format!("read `{}`: {error}", path.display())),
    }
}

struct Connection {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    fn open(path: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).and_then(|stream| Ok((stream.try_clone()?, stream)));
        match stream {
            Ok((other, stream)) => Ok(Connection { stream, lines: BufReader::new(other) }),
            Err(error) => failure(
                3,
                format!(
                    "no daemon answers at `{}`: {error}; start one with `statusquo-vmmd run`",
                    path.display()
                ),
            ),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let line = serde_json::to_string(&Asked { id: 1, request });
        let line = line.map_err(|error| Failure { code: 2, text: error.to_string() })?;
        // A refusal may be there to read although not everything was taken.
        let sent = self.stream.write_all(format!("{line}\n").as_bytes());
        match (self.next()?, sent) {
            (Some(Line::Reply { reply, .. }), _) => Ok(reply),
            (Some(Line::Error { error, .. }), _) => failure(1, error.message),
            (Some(Line::Event { .. }), _) => failure(3, "the daemon answers with an event"),
            (None, Err(error)) => failure(3, format!("ask the daemon: {error}")),
            (None, Ok(())) => failure(
                3,
                "the daemon ended before it answered; ask again when it is back: what was done is not lost",
            ),
        }
    }

    fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => match serde_json::from_str(&line) {
                Ok(line) => Ok(Some(line)),
                Err(error) => failure(3, format!("the daemon answers what is no answer: {error}")),
            },
        }
    }

    fn print_events(&mut self) -> Result<(), Failure> {
        while let Some(line) = self.next()? {
            if let Line::Event { event } = line {
                let text = serde_json::to_string::<Event>(&event);
                print(&text.map_err(|error| Failure { code: 1, text: error.to_string() })?)?;
            }
        }
        failure(3, "the daemon has ended")
    }
}

impl Run {
    fn run(&self, places: Places) -> Result<(), Failure> {
        self.log_to()?;
        let mut options = Options {
            stepwise: self.stepwise,
            unplug_wait: Duration::from_secs(self.unplug_wait),
            ..Options::default()
        };
        options.limits.reply_within = Duration::from_secs(self.reply_within);
        super::run(places, options).or_else(|error| failure(1, causes(&error)))
    }

    fn log_to(&self) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(&self.log_level)
            .map_err(|error| Failure { code: 2, text: format!("--log-level: {error}") })?;
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_span_events(FmtSpan::NONE)
            .with_target(false);
        let done = match &self.log {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
                let file = file.map_err(|error| Failure {
                    code: 2,
                    text: format!("open the log `{}`: {error}", path.display()),
                })?;
                let subscriber = subscriber.with_ansi(false).with_writer(Mutex::new(file));
                match self.log_format {
                    LogFormat::Text => subscriber.try_init(),
                    LogFormat::Json => subscriber.json().try_init(),
                }
            }
            None => {
                let subscriber = subscriber.with_ansi(false).with_writer(io::stderr);
                match self.log_format {
                    LogFormat::Text => subscriber.try_init(),
                    LogFormat::Json => subscriber.json().try_init(),
                }
            }
        };
        done.or_else(|error| failure(1, format!("log: {error}")))
    }
}
