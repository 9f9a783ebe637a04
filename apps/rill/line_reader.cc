#include "line_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <iostream>
#include <string_view>

#include "rill/model_store.h"

namespace rill::app {
namespace {

constexpr std::string_view kPasteBegin = "\x1b[200~";
constexpr std::string_view kPasteEnd = "\x1b[201~";
constexpr size_t kMaxPasteBytes = 4u << 20;

void EraseAll(std::string& text, std::string_view what) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos;) text.erase(at, what.size());
}

// One byte from the terminal: 1, 0 at its end, -1 after a signal or an error.
int ReadByte(char& out) {
  return InterruptScope::Read(STDIN_FILENO, &out, 1);
}

// What a pasted text is to a message: newlines as \n, no other control characters than tabs.
std::string CleanPaste(std::string_view raw) {
  std::string out;
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto byte = static_cast<unsigned char>(raw[i]);
    if (byte == '\r') {
      out += '\n';
      if (i + 1 < raw.size() && raw[i + 1] == '\n') ++i;
    } else if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte != 0x7F)) {
      out += raw[i];
    }
  }
  return out;
}

}  // namespace

LineReader::LineReader() : terminal_(StdinIsTerminal() && StdoutIsTerminal()) {
  if (terminal_) OpenEditor();
}

void LineReader::OpenEditor() {
  if (!std::setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  editor_ = el_init("rill", stdin, stdout, stderr);
  history_ = history_init();
  if (!editor_ || !history_) {
    terminal_ = false;
    return;
  }
  const char* term = std::getenv("TERM");
  asks_for_paste_marks_ = term && *term && std::string_view(term) != "dumb";
  el_set(editor_, EL_CLIENTDATA, this);
  el_set(editor_, EL_PROMPT, &LineReader::Prompt);
  el_set(editor_, EL_GETCFN, &LineReader::ReadChar);
  el_set(editor_, EL_SIGNAL, 0);  // a Ctrl-C ends el_gets(); InterruptScope saw it
  el_set(editor_, EL_EDITOR, "emacs");
  el_set(editor_, EL_ADDFN, "rill-complete", "File names", &_el_fn_complete);
  el_set(editor_, EL_ADDFN, "rill-paste", "A pasted text", &LineReader::Paste);
  el_set(editor_, EL_ADDFN, "rill-nothing", "Nothing", &LineReader::Nothing);
  constexpr const char* kKeys[][2] = {
      {"^I", "rill-complete"},      {"^R", "em-inc-search-prev"}, {"\\e[1~", "ed-move-to-beg"},
      {"\\e[4~", "ed-move-to-end"}, {"\\e[7~", "ed-move-to-beg"}, {"\\e[8~", "ed-move-to-end"},
      {"\\e[H", "ed-move-to-beg"},  {"\\e[F", "ed-move-to-end"},  {"\\e[3~", "ed-delete-next-char"},
      {"\\e[1;5C", "em-next-word"}, {"\\e[1;5D", "ed-prev-word"}, {"\\e[5C", "em-next-word"},
      {"\\e[5D", "ed-prev-word"}};
  for (const auto& [key, function] : kKeys) el_set(editor_, EL_BIND, key, function, nullptr);

  HistEvent event;
  history(history_, &event, H_SETSIZE, 1000);
  std::error_code ignored;  // without a folder there is no history, and that is all
  std::filesystem::create_directories(ModelCacheFolder(), ignored);
  history_path_ = ModelCacheFolder() + "/chat_history";
  history(history_, &event, H_LOAD, history_path_.c_str());
  el_set(editor_, EL_HIST, history, history_);
  el_source(editor_, nullptr);  // ~/.editrc
  el_set(editor_, EL_BIND, "\\e[200~", "rill-paste", nullptr);
  el_set(editor_, EL_BIND, "\\e[201~", "rill-nothing", nullptr);
}

LineReader::~LineReader() {
  if (terminal_) {
    HistEvent event;
    const mode_t mask = umask(077);  // what somebody said to a model is their own affair
    history(history_, &event, H_SAVE, history_path_.c_str());
    umask(mask);
    chmod(history_path_.c_str(), 0600);
  }
  if (editor_) el_end(editor_);
  if (history_) history_end(history_);
}

LineReader& LineReader::Of(EditLine* editor) {
  void* reader = nullptr;
  el_get(editor, EL_CLIENTDATA, &reader);
  return *static_cast<LineReader*>(reader);
}

char* LineReader::Prompt(EditLine* editor) {
  return const_cast<char*>(Of(editor).prompt_);  // libedit only reads it
}

int LineReader::ReadChar(EditLine*, wchar_t* out) {
  std::mbstate_t state = {};
  while (true) {
    char byte;
    const int got = ReadByte(byte);
    if (got <= 0) return got;
    const size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;
    if (used != static_cast<size_t>(-1)) return 1;
    state = {};  // not UTF-8: left out
  }
}

unsigned char LineReader::Paste(EditLine* editor, int) {
  std::string raw;
  bool too_long = false;
  while (!raw.ends_with(kPasteEnd)) {
    char byte;
    if (ReadByte(byte) <= 0) return CC_EOF;
    raw += byte;
    if (raw.size() > kMaxPasteBytes) {
      raw.erase(0, raw.size() - kPasteEnd.size());
      too_long = true;
    }
  }
  raw.resize(raw.size() - kPasteEnd.size());
  if (too_long) {
    std::fprintf(stderr, "\nrill: a pasted text of more than %zu bytes is left out\n",
                 kMaxPasteBytes);
    return CC_REDISPLAY;
  }
  // libedit's buffer grows by the size of what it is given, if only once per call.
  const std::string text = CleanPaste(raw);
  if (!text.empty() && el_insertstr(editor, text.c_str()) != 0) return CC_ERROR;
  return CC_REFRESH;
}

unsigned char LineReader::Nothing(EditLine*, int) {
  return CC_NORM;
}

// Without the editor nobody asked for marks; a terminal that sends them still means one text.
LineReader::Outcome LineReader::ReadPlain(std::string& line) {
  if (!std::getline(std::cin, line)) return Outcome::kEnd;
  if (!StdinIsTerminal()) return Outcome::kLine;
  std::string next;
  while (true) {
    const size_t begin = line.rfind(kPasteBegin);
    if (begin == std::string::npos || line.find(kPasteEnd, begin) != std::string::npos) break;
    if (line.size() > kMaxPasteBytes || !std::getline(std::cin, next)) break;
    line += "\n" + next;
  }
  EraseAll(line, kPasteBegin);
  EraseAll(line, kPasteEnd);
  return Outcome::kLine;
}

LineReader::Outcome LineReader::Read(const char* prompt, const InterruptScope& interrupt,
                                     std::string& line) {
  if (!terminal_) return ReadPlain(line);
  prompt_ = prompt;
  if (asks_for_paste_marks_) WriteStdout("\x1b[?2004h");
  int count = 0;
  const char* text = el_gets(editor_, &count);
  if (asks_for_paste_marks_) WriteStdout("\x1b[?2004l");
  if (!text || count <= 0) {
    WriteStdout("\n");
    return interrupt.interrupted() ? Outcome::kInterrupted : Outcome::kEnd;
  }
  line = text;
  while (line.ends_with('\n')) line.pop_back();
  if (!line.empty()) {
    HistEvent event;
    history(history_, &event, H_ENTER, line.c_str());
  }
  return Outcome::kLine;
}

}  // namespace rill::app
