# cmake -DINPUT=... -DOUTPUT=... -P EmbedHardware.cmake: hardware.json as C++ raw string literals, without the
# `sources` (for readers of the file; parsing them would take most of the start-up time). Split, as compilers
# limit one literal to 64 KB (the standard promises less).
file(READ "${INPUT}" text)
string(REGEX REPLACE ",[ \n]*\"sources\": {[^}]*}" "" text "${text}")
string(REGEX REPLACE "\n *" "" text "${text}")
string(LENGTH "${text}" length)
set(position 0)
set(literals "")
while(position LESS length)
  string(SUBSTRING "${text}" ${position} 15000 piece)
  string(APPEND literals "R\"MOAI_TEXT(${piece})MOAI_TEXT\"\n")
  math(EXPR position "${position} + 15000")
endwhile()
file(WRITE "${OUTPUT}" "${literals}")
