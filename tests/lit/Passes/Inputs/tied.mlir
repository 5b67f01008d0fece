module attributes {moai.binding = array<i64: 2, 8, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=4">} {
  func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"}, %g: !moai.tensor<[b, 4], f32> {moai.name = "g", moai.role = "input"},
                  %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}, %v: !moai.tensor<[400, 4], f32> {moai.name = "v", moai.role = "parameter"}) -> (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) {
    %0 = moai.contract %x, %w {equation = "ak,nk->an", moai.position = 0 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %1 = moai.contract %0, %w {equation = "ak,nk->an", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %2 = moai.contract %1, %w {equation = "ak,nk->an", moai.position = 2 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %3 = moai.contract %2, %v {equation = "ak,nk->an", moai.position = 2 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[400, 4], f32>) -> !moai.tensor<[b, 400], f32>
    %d2 = moai.contract %g, %1 {equation = "an,ak->nk", moai.phase = "backward", moai.position = 2 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %b2 = moai.contract %g, %w {equation = "an,nk->ak", moai.phase = "backward", moai.position = 2 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %d1 = moai.contract %b2, %0 {equation = "an,ak->nk", moai.phase = "backward", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %b1 = moai.contract %b2, %w {equation = "an,nk->ak", moai.phase = "backward", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %a1 = moai.elementwise %d2, %d1 {kind = "add", moai.phase = "backward", moai.position = 1 : i64} : (!moai.tensor<[4, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %d0 = moai.contract %b1, %x {equation = "an,ak->nk", moai.phase = "backward", moai.position = 0 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %a0 = moai.elementwise %a1, %d0 {kind = "add", moai.phase = "backward", moai.position = 0 : i64} : (!moai.tensor<[4, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[4, 4], f32>
    return %2, %a0 : !moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>
  }
}
