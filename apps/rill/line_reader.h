// LineReader: lines from a terminal, edited and remembered, or from a pipe.
#pragma once

#include <histedit.h>

#include <string>

#include "command.h"

namespace rill::app {

// A pasted text is one line of the editor whatever newlines are in it: a terminal that is asked to
// (bracketed paste, DEC mode 2004) sends it between ESC[200~ and ESC[201~. libedit's readline
// interface does not know these, hence its own interface.
class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  enum class Outcome { kLine, kInterrupted, kEnd };
  // `line` without the newline that ended it, and without those at the end of a pasted text.
  Outcome Read(const char* prompt, const InterruptScope& interrupt, std::string& line);
  bool terminal() const { return terminal_; }

 private:
  static LineReader& Of(EditLine* editor);
  static char* Prompt(EditLine* editor);
  static int ReadChar(EditLine* editor, wchar_t* out);
  static unsigned char Paste(EditLine* editor, int key);
  static unsigned char Nothing(EditLine* editor, int key);
  Outcome ReadPlain(std::string& line);
  void OpenEditor();

  bool terminal_;
  bool asks_for_paste_marks_ = false;
  const char* prompt_ = "";
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string history_path_;
};

}  // namespace rill::app
