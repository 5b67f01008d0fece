# cmake -DINPUT=... -DOUTPUT=... -P EmbedText.cmake: a text file as C++ raw string literals. Split, as compilers
# limit one literal to 64 KB (the standard promises less).
file(READ "${INPUT}" text)
string(LENGTH "${text}" length)
set(position 0)
set(literals "")
while(position LESS length)
  string(SUBSTRING "${text}" ${position} 15000 piece)
  string(APPEND literals "R\"MOAI_TEXT(${piece})MOAI_TEXT\"\n")
  math(EXPR position "${position} + 15000")
endwhile()
file(WRITE "${OUTPUT}" "${literals}")
